"""The secrets of one device in one attempt, and what it reads from a roster."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from fedge.identity.ed25519 import SIGNATURE_BYTES
from fedge.masking import ciphers, statements
from fedge.masking.graph import Graph, complete, ring_of
from fedge.masking.messages import ADVERTISED_BYTES, Roster, Terms
from fedge.masking.refusals import Refusal, Why
from fedge.masking.ring import Ring
from fedge.masking.sharing import RANDOM_BYTES
from fedge.masking.thresholds import GRINDING_BITS, neighbourhood

ENTROPY_BYTES = 32
Sign = Callable[[bytes], bytes]
"""The signature of data with the key of this device's certificate."""
Verify = Callable[[str, bytes, bytes], bool]
"""Whether a device's certificate key has signed: device, data, signature."""


@dataclass(frozen=True)
class Secrets:
    """All of them follow from 32 random bytes and the attempt, so a restart finds the same ones."""

    sealing: bytes
    masking: bytes
    self_mask: bytes
    """The seed of the mask that no other device adds."""
    sharing: bytes
    """The seed of the polynomials."""

    def polynomial(self, label: bytes, threshold: int) -> bytes:
        """The random bytes of the polynomial of one secret."""
        return bytes(ciphers.stream(ciphers.derived(self.sharing, label), (threshold - 1) * RANDOM_BYTES))


def secrets_of(entropy: bytes, terms: Terms) -> Secrets:
    """The secrets of an attempt: other terms give others, also with the same random bytes.

    Raises:
        ValueError: not `ENTROPY_BYTES` random bytes.
    """
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"{len(entropy)} random bytes, and {ENTROPY_BYTES} are needed for secrets")
    labels = (b"sealing", b"masking", b"self-mask", b"sharing")
    told = statements.context(terms)
    return Secrets(*(ciphers.derived(entropy, statements.purpose(told, label)) for label in labels))


def ring_for(terms: Terms) -> Ring:
    """The ring of an attempt.

    Raises:
        ValueError: a sum does not fit into a word.
    """
    return Ring(terms.value_bits, len(terms.cohort), terms.max_weight)


@dataclass(frozen=True)
class PublicKeys:
    """What a device has advertised."""

    sealing: bytes
    masking: bytes
    commitment: bytes


def public_keys(secrets: Secrets) -> PublicKeys:
    """The public side of the secrets."""
    return PublicKeys(
        ciphers.public_key(secrets.sealing),
        ciphers.public_key(secrets.masking),
        sha256(secrets.self_mask).digest(),
    )


@dataclass(frozen=True)
class Directory:
    """A roster that has been read."""

    digest: bytes
    keys: Mapping[int, PublicKeys]
    """By place in the cohort."""
    signatures: Mapping[int, bytes]
    graph: Graph


def directory(terms: Terms, roster: Roster) -> Directory | Refusal:
    """Read a roster. Signatures are not checked."""
    devices = len(terms.cohort)
    members = statements.members_of(roster.members, devices)
    if members is None or len(roster.advertised) != ADVERTISED_BYTES * len(members):
        return Refusal(Why.MALFORMED, "the roster's keys are not those of its members")
    if len(roster.signatures) != SIGNATURE_BYTES * len(members):
        return Refusal(Why.MALFORMED, "the roster's signatures are not those of its members")
    if len(members) < terms.threshold:
        return Refusal(Why.TOO_FEW, f"{len(members)} devices advertised keys, and {terms.threshold} must")
    ordered = sorted(members)
    pieces = pieces_of(roster.advertised, ADVERTISED_BYTES)
    keys = {
        at: PublicKeys(piece[:32], piece[32:64], piece[64:])
        for at, piece in zip(ordered, pieces, strict=True)
    }
    each = [key for found in keys.values() for key in (found.sealing, found.masking)]
    if len(set(each)) != len(each) or len({found.commitment for found in keys.values()}) != len(keys):
        return Refusal(Why.DUPLICATE_KEY, "two keys in the roster are the same")
    named = statements.roster_digest(roster.terms, roster.members, roster.advertised)
    signatures = dict(zip(ordered, pieces_of(roster.signatures, SIGNATURE_BYTES), strict=True))
    return Directory(named, keys, signatures, _graph(terms, ordered, named))


def _graph(terms: Terms, members: list[int], seed: bytes) -> Graph:
    grinding = GRINDING_BITS if terms.server == "lying" else 0
    colluders, dropouts = min(terms.colluders, len(members)), min(terms.dropouts, len(members))
    size = neighbourhood(len(members), colluders, dropouts, grinding_bits=grinding)
    return complete(members, terms.threshold) if size is None else ring_of(members, size, seed)


def pieces_of(body: bytes, size: int) -> list[bytes]:
    """Cut a list of values of the same size."""
    return [body[at : at + size] for at in range(0, len(body), size)]


def mask_keys(terms: Terms, secret: bytes, own: bytes, others: Sequence[bytes]) -> list[bytes | None]:
    """The keys of the masks that two devices share, the same on both sides. None: a weak public key."""
    told = statements.context(terms)
    infos = [statements.purpose(told, b"mask", *sorted((own, other))) for other in others]
    return ciphers.agreed(secret, list(zip(others, infos, strict=True)))


class SealingKeys(NamedTuple):
    """What seals a device's shares for another one, and the other's for it: each direction has its own."""

    outgoing: bytes
    incoming: bytes


def sealing_keys(
    terms: Terms, roster: bytes, secret: bytes, own: bytes, others: Sequence[bytes]
) -> list[SealingKeys | None]:
    """The keys that seal what a device and others send each other under one roster.

    Both come from one agreement: the first half of its key is for what the device with the smaller public key
    sends. None: a weak public key.
    """
    told = statements.context(terms)
    infos = [statements.purpose(told, b"seal", roster, *sorted((own, other))) for other in others]
    agreed = ciphers.agreed(secret, list(zip(others, infos, strict=True)), 2 * ciphers.KEY_BYTES)
    found: list[SealingKeys | None] = []
    for other, key in zip(others, agreed, strict=True):
        if key is None:
            found.append(None)
            continue
        smaller, larger = pieces_of(key, ciphers.KEY_BYTES)
        found.append(SealingKeys(smaller, larger) if own < other else SealingKeys(larger, smaller))
    return found
