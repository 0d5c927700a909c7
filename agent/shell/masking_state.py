"""A device's state in secure aggregation as bytes, for its memory. Pure."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from fedge.errors import DamagedState, ProtocolError
from fedge.masking import statements
from fedge.masking.device_state import Attempt, Device, Mark, Stage
from fedge.masking.keys import Directory, directory
from fedge.masking.messages import (
    Advertise,
    Consistency,
    MaskedInput,
    MaskingMessage,
    Roster,
    Share,
    Terms,
    Unmask,
)
from fedge.masking.refusals import Refusal
from fedge.wire.messages.fields import MAX_SIZE, Counter, DeviceId
from fedge.wire.messages.message import Message, pack, unpack, unpack_one_of

SENT: tuple[type[MaskingMessage], ...] = (Advertise, Share, MaskedInput, Consistency, Unmask)


class Saved(Message):
    """The state, as it is written."""

    TYPE: ClassVar[str] = "masking_state"
    MAX_VALUES: ClassVar[int] = 8_192

    device: DeviceId
    mark: tuple[Counter, Counter, Counter, Counter] = Field(strict=False)
    terms: bytes | None = None
    place: int = 0
    entropy: bytes = b""
    stage: int = 0
    sent: bytes = b""
    roster: bytes | None = None
    sharers: tuple[int, ...] = Field(default=(), strict=False)
    alive: tuple[int, ...] = Field(default=(), strict=False)
    holders: tuple[int, ...] = Field(default=(), strict=False)
    held: tuple[bytes, ...] = Field(default=(), strict=False)
    keys: bytes = b""
    """The public keys of the cohort's certificates, 33 bytes each, in its order."""


def to_bytes(state: Device, keys: Mapping[str, bytes]) -> bytes:
    """Write a state, with the public keys of the cohort by device."""
    mark = (state.mark.generation, state.mark.round, state.mark.attempt, state.mark.stage)
    attempt = state.attempt
    if attempt is None:
        return pack(Saved(device=state.name, mark=mark))
    return pack(
        Saved(
            device=state.name,
            mark=mark,
            terms=pack(attempt.terms),
            place=attempt.place,
            entropy=attempt.entropy,
            stage=int(attempt.stage),
            sent=pack(attempt.sent),
            roster=None if attempt.roster is None else pack(_roster(attempt, attempt.roster)),
            sharers=tuple(sorted(attempt.sharers)),
            alive=tuple(sorted(attempt.alive)),
            holders=tuple(sorted(attempt.held)),
            held=tuple(attempt.held[each] for each in sorted(attempt.held)),
            keys=b"".join(keys[each] for each in attempt.terms.cohort),
        )
    )


def from_bytes(content: bytes) -> tuple[Device, dict[str, bytes]]:
    """Read a state, and the public keys of the cohort by device: the inverse of `to_bytes`.

    Raises:
        DamagedState: the bytes are something else.
    """
    try:
        saved = unpack(content, Saved, max_bytes=MAX_SIZE)
        mark = Mark(*saved.mark)
        if saved.terms is None:
            return Device(saved.device, mark=mark), {}
        terms = unpack(saved.terms, Terms)
        attempt = Attempt(
            terms=terms,
            digest=statements.digest(terms),
            place=saved.place,
            entropy=saved.entropy,
            stage=Stage(saved.stage),
            sent=unpack_one_of(saved.sent, SENT, max_bytes=MAX_SIZE),
            roster=None if saved.roster is None else _directory(terms, saved.roster),
            sharers=frozenset(saved.sharers),
            held=dict(zip(saved.holders, saved.held, strict=True)),
            alive=frozenset(saved.alive),
        )
        size = len(saved.keys) // len(terms.cohort)
        keys = {name: saved.keys[at * size : (at + 1) * size] for at, name in enumerate(terms.cohort)}
    except (ProtocolError, ValueError) as error:
        raise DamagedState(f"the saved state of secure aggregation is damaged: {error}") from None
    return Device(saved.device, mark=mark, attempt=attempt), keys


def _roster(attempt: Attempt, found: Directory) -> Roster:
    """The roster that a directory was read from."""
    members = sorted(found.keys)
    each = [found.keys[at] for at in members]
    return Roster(
        terms=attempt.digest,
        members=statements.bitmap(members, len(attempt.terms.cohort)),
        advertised=b"".join(keys.sealing + keys.masking + keys.commitment for keys in each),
        signatures=b"".join(found.signatures[at] for at in members),
    )


def _directory(terms: Terms, roster: bytes) -> Directory:
    found = directory(terms, unpack(roster, Roster, max_bytes=MAX_SIZE))
    if isinstance(found, Refusal):
        raise ValueError(found.detail)  # noqa: TRY004 # what was saved is damaged; its type is right
    return found
