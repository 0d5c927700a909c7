"""The admitted updates of a round, read from the ledger one at a time.

Vectors come decoded. If the codec encodes changes, the update is the sum of base and change, in float64.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.models import vector_of
from aggregator.aggregation.staleness import moved
from aggregator.core.parts import blaming, failed, require_vector
from aggregator.core.shared_entries import completed, sent_entries
from aggregator.core.verdicts import Measured, Verdict
from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import LedgerReader
from aggregator.phases.phase import messages
from fedge.algorithms.codecs.seeds import vector_seed
from fedge.algorithms.protocols import WEIGHTS, Codec
from fedge.algorithms.registry import CODECS
from fedge.errors import DamagedState, DataError, ProtocolError
from fedge.masking.round_messages import Promise
from fedge.wire.frames import join
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack_one_of
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update, unpack_update
from fedge.wire.reasons import Rejection

Vector = NDArray[np.floating[Any]]

TOGETHER = 2**18  # with frames of an old layout they are read at once too: 1 MB as float32
"""The most entries in the vectors of updates that are looked up at once."""
MENDED = "because no other codec can read the round's updates"
"""Why the codec must be corrected if it fails to read them."""


def read_update(ledger: LedgerReader, device: str, digest: bytes) -> Update | Survey | Promise | Rejection:
    """Put an update's frames together again, check its digest, and read it.

    Raises:
        ProtocolError: the bytes are not a message of any phase.
    """
    return joined(digest, ledger.pieces(device, digest))


def joined(digest: bytes, pieces: Iterable[bytes]) -> Update | Survey | Promise | Rejection:
    """As `read_update`, of the data of its frames."""
    whole = join(digest, pieces)
    if isinstance(whole, Rejection):
        return whole
    return unpack_update(whole) or unpack_one_of(whole, messages(), max_bytes=MAX_SIZE)


def admitted(ledger: LedgerReader, round_id: RoundId, without: Collection[str] = ()) -> dict[str, Verdict]:
    """The answers of the devices that count in a round, in the order of the sum; some may be left out."""
    return {
        device: answer
        for device, answer in ledger.answers(round_id).items()
        if answer.verdict == "admitted" and device not in without
    }


def read(ledger: LedgerReader, device: str, answer: Verdict) -> Update | Survey:
    """The admitted update of a device.

    Raises:
        DamagedState: it is missing, or does not match its digest.
    """
    return _admitted(device, read_update(ledger, device, answer.digest))


def read_each(
    ledger: LedgerReader, answers: Mapping[str, Verdict], size: int, go_on: Callable[[], None]
) -> Iterator[tuple[str, Verdict, Update | Survey]]:
    """The admitted update of each device, in order; several are looked up at once.

    Args:
        ledger: holds them.
        answers: the verdicts on them.
        size: the entries in their vectors.
        go_on: called before each update is read; what it raises ends the work.

    Raises:
        DamagedState: as `read`.
    """
    wanted, together = list(answers.items()), max(1, TOGETHER // max(1, size))
    for few in (wanted[at : at + together] for at in range(0, len(wanted), together)):
        found = ledger.pieces_of([(device, answer.digest) for device, answer in few])
        for (device, answer), pieces in zip(few, found, strict=True):
            go_on()
            yield device, answer, _admitted(device, joined(answer.digest, pieces))


def _admitted(device: str, message: Update | Survey | Promise | Rejection) -> Update | Survey:
    if isinstance(message, Rejection):
        raise damaged(device, message.detail)
    if isinstance(message, Promise):
        raise damaged(device, "a promise of a masked round is in its place")
    return message


def damaged(device: str, found: str) -> DamagedState:
    """The error that an admitted update is missing or damaged."""
    return DamagedState(f"{FILE}: the admitted update of {device} is missing or damaged: {found}")


class Sent(NamedTuple):
    """One vector of a device's update."""

    device: str
    steps: int
    """The steps that the device says it took; not bounded yet."""
    vector: Vector
    """Of shape (p,)."""
    length: float | None = None
    """Of the vector, from the base if there is one; None: it has to be measured."""


class RoundUpdates(ABC):
    """The admitted updates of one round: one at a time, anew in each pass."""

    round: RoundId
    size: int
    """p, the length of the vectors."""
    answers: Mapping[str, Verdict]
    """By device, in the order of the sum."""
    measured: Mapping[str, Measured] = MappingProxyType({})
    """What is known already of some of these updates, by device."""

    @abstractmethod
    def sent(self, without: Set[str] = frozenset(), name: str = WEIGHTS) -> "Iterator[Sent]":
        """Each device's vector of this name and the steps that it tells, in the order of the sum.

        Raises:
            DamagedState: an admitted update is missing or damaged; without it the mean would be different.
            PartError: the codec cannot read an update that it could read at admission.
        """

    def vectors(self, without: Set[str] = frozenset(), name: str = WEIGHTS) -> Iterator[tuple[str, Vector]]:
        """Each device's vector of this name, of shape (p,), in the order of the sum; raises as `sent`."""
        return ((each.device, each.vector) for each in self.sent(without, name))


class Updates(RoundUpdates):
    """The admitted updates of one round, from the ledger.

    Args:
        ledger: holds them.
        round_id: of the round.
        size: p, the length of their vectors.
        go_on: called before each update is read; what it raises ends the work.
        without: devices that are left out, as if they had never answered.
        codec: reads the vectors of updates that name it; others are read by the codec that they name.
        base: the weights that they began from, of shape (p,); for a codec that encodes changes, and for
            updates of a part of the entries.
        shared: which entries an update has, of shape (p,); None: all.
        seed: of the federation when the round was opened.
        known: verdicts with what admission has measured of these updates.
    """

    def __init__(
        self,
        ledger: LedgerReader,
        round_id: RoundId,
        size: int,
        go_on: Callable[[], None] = lambda: None,
        without: Collection[str] = (),
        codec: tuple[str, Codec] | None = None,
        base: Vector | None = None,
        shared: NDArray[np.bool_] | None = None,
        seed: int = 0,
        known: Mapping[str, Verdict] = MappingProxyType({}),
    ) -> None:
        self._ledger, self._go_on = ledger, go_on
        self._seed = seed
        self.round = round_id
        self._codecs: dict[str, Codec] = dict((codec,) if codec is not None else ())
        self._base, self._shared = base, shared
        self.size = size
        self.answers = admitted(ledger, round_id, without)
        self.measured = {
            device: found.measured
            for device, answer in self.answers.items()
            if answer.began is None  # a stale update counts from another base
            and (found := known.get(device)) is not None
            and found.digest == answer.digest
            and found.measured is not None
        }

    def sent(self, without: Set[str] = frozenset(), name: str = WEIGHTS) -> "Iterator[Sent]":
        """As `RoundUpdates.sent`.

        Raises:
            DamagedState, PartError: as `RoundUpdates.sent`.
            DataError: the model from which a stale update began is no longer kept.
        """
        wanted = {device: answer for device, answer in self.answers.items() if device not in without}
        for device, answer, update in read_each(self._ledger, wanted, self.size, self._go_on):
            if not isinstance(update, Update) or update.samples != answer.samples:
                raise damaged(device, f"found another update for round {self.round}")
            body = update.body if name == WEIGHTS else (update.vectors or {}).get(name)
            if body is None:
                raise damaged(device, f"found an update without {name!r} for round {self.round}")
            codec, vector = self._decoded(update, name, body)
            if name != WEIGHTS:
                found: Vector = vector
            elif answer.began is None or codec.encodes == "change":
                found = completed(self._shared, codec, vector, self._base)
            else:
                before = self._before(device, answer.began, update.base)
                if self._base is None:
                    raise ValueError("a stale update needs the weights of the newest model")
                found = moved(self._base, completed(self._shared, codec, vector, before), before)
            yield Sent(device, update.steps, found)

    def _before(self, device: str, number: int, digest: bytes) -> NDArray[np.float32]:
        """The weights of shape (p,) from which an update for the older round of this number began."""
        before = self.round._replace(round=number - 1)
        kept = self._ledger.model_of(before)
        if kept is None:
            raise DataError(
                f"the model of round {before}, from which {device} began, is no longer kept ([state] "
                "keep_rounds and keep_bytes)"
            )
        if kept != digest:
            raise damaged(device, f"found an update from another base than the model of round {before}")
        return vector_of(self._ledger, digest, self.size)

    def clusters(self) -> dict[str, int]:
        """The shared model that each device trained, by its number.

        Raises:
            DamagedState: an admitted update is missing or damaged.
        """
        found = {}
        for device, _, update in read_each(self._ledger, self.answers, self.size, self._go_on):
            if not isinstance(update, Update):
                raise damaged(device, f"found another message for round {self.round}")
            found[device] = update.cluster or 0
        return found

    def _decoded(self, update: Update, name: str, body: bytes) -> tuple[Codec, NDArray[np.float32]]:
        """Decode one vector as at admission; if that fails now, the codec is at fault."""
        who, where = f"the codec {update.codec}", f"{self.round}, {update.device}"
        size = sent_entries(self._shared, self.size)
        seed = vector_seed(self._seed, *round_of(update), update.device, name)
        with blaming(who, where, MENDED):
            codec = self._codecs.get(update.codec)
            if codec is None:
                codec = self._codecs[update.codec] = CODECS.make(update.codec)
            try:
                vector = codec.decode(body, size, seed)
            except ProtocolError as error:
                raise failed(who, where, error, MENDED) from error
            require_vector(who, vector, size)
        return codec, vector
