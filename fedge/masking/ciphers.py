"""Keys, key agreement, masks and sealed shares: the only file here that imports `cryptography`.

X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), ChaCha20 and ChaCha20-Poly1305 (RFC 8439). A sealing key seals one
message, so its nonce is zero; the same is true of the keys of masks.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedge.masking.ring import Ring, Values

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import CipherContext

KEY_BYTES = 32
TAG_BYTES = 16
_NONCE = bytes(12)
_STREAM_NONCE = bytes(16)
_ZEROS = bytes(1 << 16)


def public_key(secret: bytes) -> bytes:
    """The 32 bytes of the public key of a secret of 32 bytes."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def agreed(secret: bytes, others: Sequence[tuple[bytes, bytes]], size: int = KEY_BYTES) -> list[bytes | None]:
    """The keys of `size` bytes that this side and each other side derive.

    None: a public key with which every secret gives the same.

    Args:
        secret: this side's secret.
        others: the other sides' public keys, each with all that its key is for.
        size: several keys for one purpose are cut from one longer key.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    own, found = X25519PrivateKey.from_private_bytes(secret), list[bytes | None]()
    for public, info in others:
        try:
            shared = own.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            found.append(None)
        else:
            found.append(derived(shared, info, size))
    return found


def derived(secret: bytes, info: bytes, size: int = KEY_BYTES) -> bytes:
    """`size` bytes from a secret, for one purpose."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), size, salt=None, info=info).derive(secret)


def stream(key: bytes, size: int) -> bytearray:
    """The first `size` bytes of ChaCha20."""
    encryptor, made = _encryptor(key), bytearray(size)
    rest = memoryview(made)
    while rest:
        part, rest = rest[: len(_ZEROS)], rest[len(_ZEROS) :]
        encryptor.update_into(_ZEROS[: len(part)], part)
    return made


def mask(key: bytes, ring: Ring, size: int) -> Values:
    """The mask of shape (size,) of a key: uniform elements of the ring."""
    return np.frombuffer(stream(key, size * ring.word.itemsize), ring.word)


def masked(values: Values, ring: Ring, added: Sequence[bytes], taken: Sequence[bytes]) -> Values:
    """Values (p,) plus the masks of some keys, minus those of others: `mask` of each, in one pass.

    Part after part takes all its masks. A part and its stream stay in the cache, and no mask exists whole.
    """
    streams: list[tuple[CipherContext, np.ufunc]] = [(_encryptor(key), np.add) for key in added]
    streams += [(_encryptor(key), np.subtract) for key in taken]
    found = values.astype(ring.word)
    drawn = bytearray(len(_ZEROS))
    words, step = np.frombuffer(drawn, ring.word), len(_ZEROS) // ring.word.itemsize
    for at in range(0, len(found), step):
        part = found[at : at + step]
        size = part.nbytes
        zeros, into, mask_of_part = _ZEROS[:size], memoryview(drawn)[:size], words[: len(part)]
        for encryptor, apply in streams:
            encryptor.update_into(zeros, into)
            apply(part, mask_of_part, out=part)
    return found


def _encryptor(key: bytes) -> "CipherContext":
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    return Cipher(algorithms.ChaCha20(key, _STREAM_NONCE), mode=None).encryptor()


def sealed(key: bytes, plain: bytes, about: bytes) -> bytes:
    """Encrypt `plain`; `about` is checked and not sent. A key seals one text."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key).encrypt(_NONCE, plain, about)


def opened(key: bytes, body: bytes, about: bytes) -> bytes | None:
    """The inverse of `sealed`; None: this key did not seal these bytes for this purpose."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, body, about)
    except InvalidTag:
        return None
