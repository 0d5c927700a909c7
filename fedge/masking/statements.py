"""What devices sign, what keys are derived for, and sets of devices as bitmaps."""

from collections.abc import Collection
from hashlib import sha256

from fedge.masking.messages import Advertise, Terms
from fedge.wire.messages.message import pack

_VERSION = b"fedge masking 1"


def digest(terms: Terms) -> bytes:
    """SHA-256 of the terms as they are sent: it stands for federation, round, attempt, model and all else."""
    return sha256(_joined(b"terms", pack(terms))).digest()


def context(terms: Terms) -> bytes:
    """What every key of an attempt is derived for."""
    numbers = (terms.generation, terms.round, terms.attempt)
    told = [str(number).encode() for number in numbers]
    return _joined(terms.federation.encode(), *told, terms.base, digest(terms))


def purpose(context: bytes, label: bytes, *keys: bytes) -> bytes:
    """The `info` of a key: the attempt, what it is for, and the public keys of both sides."""
    return _joined(label, context, *keys)


def advertised(message: Advertise) -> bytes:
    """The keys of an advertisement, as they stand in a roster."""
    return message.sealing_key + message.masking_key + message.commitment


def advertisement(terms: bytes, device: str, keys: bytes) -> bytes:
    """What a device signs in phase 1."""
    return _joined(b"advertise", terms, device.encode(), keys)


def roster_digest(terms: bytes, members: bytes, advertised: bytes) -> bytes:
    """It stands for all keys, and the order of the devices follows from it."""
    return sha256(_joined(b"roster", terms, members, advertised)).digest()


def masked_with(roster: bytes, sharers: bytes) -> bytes:
    """What a device signs in phase 3: it masks with its neighbours among these."""
    return _joined(b"masked", roster, sharers)


def survivors(roster: bytes, sharers: bytes, alive: bytes) -> bytes:
    """What a device signs in phase 4."""
    return _joined(b"survivors", roster, sharers, alive)


def bitmap(members: Collection[int], devices: int) -> bytes:
    """A set of places below `devices` as bits."""
    return sum(1 << member for member in members).to_bytes(-(-devices // 8), "little")


def members_of(bits: bytes, devices: int) -> frozenset[int] | None:
    """The inverse of `bitmap`; None: another length, or a place that there is not."""
    value = int.from_bytes(bits, "little")
    if len(bits) != -(-devices // 8) or value >> devices:
        return None
    return frozenset(at for at in range(devices) if value >> at & 1)


def _joined(*parts: bytes) -> bytes:
    """Parts after their lengths, so that no two lists give the same bytes."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in (_VERSION, *parts))
