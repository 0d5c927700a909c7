"""The file of the signing key: the private key, and below it the changes that led to it.

All of it is one PEM file, so that a change of the key replaces both with one rename: first the private key,
then a block for each change, the oldest first. A block holds the old public key (32 bytes), the new one (32)
and the old one's signature (64).
"""

import base64
import binascii
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from aggregator.config import FederationSettings
from fedge.errors import ConfigError
from fedge.identity import ed25519
from fedge.identity.trust import Signer
from fedge.wire.messages.envelope import MAX_SUCCESSIONS, Succession
from fedge.wire.topics import Topics

_LABEL = "FEDGE SIGNING KEY SUCCESSION"
_BLOCK = re.compile(rf"-----BEGIN {_LABEL}-----([A-Za-z0-9+/=\s]*)-----END {_LABEL}-----")
_BLOCK_BYTES = 2 * ed25519.PUBLIC_BYTES + ed25519.SIGNATURE_BYTES


def signer_of(settings: FederationSettings) -> Signer | None:
    """The signer that `[signing]` names; None: announcements are not signed.

    Raises:
        ConfigError: as `read_signer`.
    """
    if settings.signing.key is None:
        return None
    return read_signer(settings.signing.key, Topics(settings.federation.name))


def read_signer(path: Path, topics: Topics) -> Signer:
    """Read a federation's signing key, with the key changes that led to it.

    Raises:
        ConfigError: the file cannot be read, holds no Ed25519 key, or changes that do not lead to it.
    """
    key = ed25519.read_signing_key(path)
    chain = tuple(_succession(path, block) for block in _BLOCK.findall(path.read_text(encoding="utf-8")))
    linked = all(earlier.new == later.old for earlier, later in pairwise(chain))
    if not linked or len(chain) > MAX_SUCCESSIONS or (chain and chain[-1].new != key.public):
        raise ConfigError(f"{path}: the key changes in it do not lead to its key; restore a copy of the file")
    for link in chain:
        if not ed25519.verify(link.old, link.sig, topics.signing_context("key") + link.new):
            raise ConfigError(
                f"{path}: a key change in it was not signed for federation {topics.federation!r}; "
                "restore a copy of the file"
            )
    return Signer(topics, key.public, key.sign, chain)


def key_file(private_pem: bytes, chain: Sequence[Succession]) -> bytes:
    """The bytes of the file, which `read_signer` reads."""
    blocks = [
        f"-----BEGIN {_LABEL}-----\n{_lines(link.old + link.new + link.sig)}-----END {_LABEL}-----\n"
        for link in chain
    ]
    return private_pem + "".join(blocks).encode("ascii")


def _lines(data: bytes) -> str:
    text = base64.b64encode(data).decode("ascii")
    return "".join(f"{text[at : at + 64]}\n" for at in range(0, len(text), 64))


def _succession(path: Path, block: str) -> Succession:
    try:
        data = base64.b64decode("".join(block.split()), validate=True)
    except binascii.Error:
        data = b""
    if len(data) != _BLOCK_BYTES:
        raise ConfigError(f"{path}: a key change in it is damaged; restore a copy of the file")
    return Succession(old=data[:32], new=data[32:64], sig=data[64:])
