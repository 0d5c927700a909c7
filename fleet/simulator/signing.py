"""Signing in a world: keys that follow from names, a signer that changes, and a stranger."""

import random
from functools import cache
from hashlib import sha256

from fedge.identity.ed25519 import SigningKey
from fedge.identity.trust import Signer, lengthened, succession
from fedge.wire.messages.envelope import Signed, seal
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.topics import Topics

MOST_CHANGES = 8
"""The largest number of key changes in one world."""


@cache
def key(name: str) -> SigningKey:
    """Make a key that is a function of its name."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return SigningKey(Ed25519PrivateKey.from_private_bytes(sha256(f"the key {name}".encode()).digest()))


@cache
def signer(topics: Topics, boots: int) -> Signer:
    """The aggregator's signer with key number `boots`, of at most `MOST_CHANGES`; each key signs the next."""
    if boots <= 1:
        return Signer(topics, key("0").public, key("0").sign)
    if boots > MOST_CHANGES:
        return signer(topics, MOST_CHANGES)
    before, now = signer(topics, boots - 1), key(str(boots))
    chain = lengthened(before.chain, succession(topics, before.public, before.sign, now.public))
    return Signer(topics, now.public, now.sign, chain)


def forgeries(topics: Topics, genuine: Manifest, boots: int, rng: random.Random) -> list[bytes]:
    """Announcements of the round after `genuine` that no device may believe."""
    later = genuine.model_copy(update={"round": genuine.round + 1, "state": "open", "seconds_left": 60.0})
    ours, stranger = signer(topics, boots), key("of a stranger")
    sealed = unpack(ours.seal(later, "round"), Signed)
    body = bytearray(sealed.body)
    body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    return [
        seal(later),
        Signer(topics, stranger.public, stranger.sign, ours.chain).seal(later, "round"),
        Signer(Topics("elsewhere"), ours.public, ours.sign, ours.chain).seal(later, "round"),
        ours.seal(later, "export"),
        pack(sealed.model_copy(update={"body": bytes(body)})),
    ]
