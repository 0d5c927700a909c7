"""Checks signed announcements. An envelope is authentic if the newest key that the device knows signed it.

The module is pure, with a verifier as an argument: `verify(public key, signature, data) -> bool`.
`fedge.identity.ed25519` has the real one. A signature covers `fedge/v1/{federation}/{topic kind}` + NUL + the
body as it arrived. So a signature for another federation or another topic is not valid here, and the check
does not encode anything again.

A key names its successor by signing it. These successions travel with the envelope. A device follows them
from the last key that it knows, and no longer believes the older ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from fedge.errors import ProtocolError
from fedge.wire.messages.envelope import MAX_SUCCESSIONS, Signed, Succession
from fedge.wire.messages.message import Message, pack
from fedge.wire.reasons import Reason
from fedge.wire.topics import Topics

Verify = Callable[[bytes, bytes, bytes], bool]
"""Whether this signature of this data is by the key with these public bytes."""
Sign = Callable[[bytes], bytes]

SignedKind = Literal["round", "export"]

Signers = tuple[bytes, ...]
"""Public keys in the order of succession: first the pinned one, last the believed one."""


def authenticate(
    envelope: Signed, kind: SignedKind, topics: Topics, signers: Signers, verify: Verify
) -> Signers:
    """Check that the federation's aggregator signed this envelope for this topic.

    Args:
        envelope: the envelope that arrived.
        kind: the kind of topic that it arrived on.
        topics: the federation's topics.
        signers: the keys known so far, at least the pinned one; only the last of them is believed.
        verify: of `fedge.identity.ed25519`.

    Returns:
        The signers, longer if the envelope brought a newer key.

    Raises:
        ProtocolError: the envelope has no signature (UNSIGNED), none by the valid key (BAD_SIGNATURE), one by
            a key that was replaced (REVOKED_SIGNER), or its successions do not follow each other (MALFORMED).
    """
    if not envelope.sigs:
        raise ProtocolError("not signed, and this device accepts only signed announcements", Reason.UNSIGNED)
    followed = _follow(envelope.chain or (), topics, signers, verify)
    data = topics.signing_context(kind) + envelope.body
    if any(verify(followed[-1], signature, data) for signature in envelope.sigs):
        return _bounded(followed)
    for former in reversed(followed[:-1]):
        if any(verify(former, signature, data) for signature in envelope.sigs):
            raise ProtocolError(
                f"signed with the key {fingerprint(former)}, which {fingerprint(followed[-1])} has replaced",
                Reason.REVOKED_SIGNER,
            )
    raise ProtocolError(
        f"not signed with the key {fingerprint(followed[-1])} for this federation and topic",
        Reason.BAD_SIGNATURE,
    )


def succession(topics: Topics, old: bytes, sign: Sign, new: bytes) -> Succession:
    """Name a successor: `old` is the public key that belongs to `sign`, `new` is the next public key."""
    return Succession(old=old, new=new, sig=sign(topics.signing_context("key") + new))


def lengthened(chain: Sequence[Succession], by: Succession) -> tuple[Succession, ...]:
    """Add a succession to the chain. The oldest one is dropped if the chain would be too long to send."""
    return (*chain, by)[-MAX_SUCCESSIONS:]


@dataclass(frozen=True)
class Signer:
    """Signs the announcements of one federation's aggregator."""

    topics: Topics
    public: bytes
    sign: Sign
    chain: tuple[Succession, ...] = ()
    """The successions that lead to `public`."""

    @property
    def keys(self) -> Signers:
        """The earlier keys, as far as they are known, followed by the present one."""
        return (*(link.old for link in self.chain), self.public)

    def seal(self, message: Message, kind: SignedKind) -> bytes:
        """Pack a message into the envelope, signed for its topic."""
        body = pack(message)
        signature = self.sign(self.topics.signing_context(kind) + body)
        return pack(Signed(body=body, sigs=(signature,), chain=self.chain or None))


def fingerprint(public: bytes) -> str:
    """Return the first 16 hexadecimal digits of a public key, for messages."""
    return public.hex()[:16]


def _follow(chain: Sequence[Succession], topics: Topics, signers: Signers, verify: Verify) -> Signers:
    """Follow the chain from the believed key to its end; earlier successions are ignored."""
    for earlier, later in pairwise(chain):
        if earlier.new != later.old:
            raise ProtocolError("the changes of the signing key do not follow each other")
    for link in chain:
        if link.old != signers[-1]:
            continue
        if not verify(link.old, link.sig, topics.signing_context("key") + link.new):
            raise ProtocolError(
                f"the key {fingerprint(link.old)} did not name {fingerprint(link.new)} as the next",
                Reason.BAD_SIGNATURE,
            )
        if link.new in signers:
            raise ProtocolError("the changes of the signing key name a key again that was replaced")
        signers = (*signers, link.new)
    return signers


def _bounded(signers: Signers) -> Signers:
    """Keep the pinned key and the newest ones; the keys between only help to report that they were
    replaced."""
    return signers if len(signers) <= MAX_SUCCESSIONS else (signers[0], *signers[-MAX_SUCCESSIONS + 1 :])
