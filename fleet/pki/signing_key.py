"""The federation's signing key: made once, beside its public half, and changed so that devices can follow."""

from pathlib import Path
from typing import NamedTuple

from aggregator.shell.signing import key_file, read_signer
from fedge.identity import ed25519
from fedge.identity.trust import lengthened, succession
from fedge.storage.atomic_files import atomic_write
from fedge.storage.files import create, describe_file
from fedge.wire.topics import Topics
from fleet.pki.folder import SECRET


def make_signing_key(path: Path) -> bytes:
    """Make an Ed25519 key at `path`, readable by its owner alone; one that is there already stays.

    Returns:
        The public key in PEM, for `signing.pub` and the devices' bundles.

    Raises:
        ConfigError: what stands at `path` is no such key, or `cryptography` is not installed.
        StateError: it cannot be written.
    """
    ed25519.require("a signing key", "secure")
    if not path.exists():
        create(path, ed25519.generate().to_pem(), mode=SECRET)
    return ed25519.public_pem(ed25519.read_signing_key(path).public)


class Rotation(NamedTuple):
    """Public keys, 32 bytes each."""

    old: bytes
    new: bytes


def rotate_signing_key(path: Path, public: Path, federation: str) -> Rotation:
    """Put a new key into the place of the one at `path`, which signs it as its successor and is gone then.

    One rename replaces the key and what led to it; `public`, for devices that are enrolled from now on,
    follows. In between, a device that is enrolled with the older one goes on from there.

    Raises:
        ConfigError: there is no signing key of this federation at `path`.
        StateError: it cannot be written; the key before stays in its place.
    """
    topics = Topics(federation)
    signer = read_signer(path, topics)
    key = ed25519.generate()
    link = succession(topics, signer.public, signer.sign, key.public)
    was = describe_file(path)  # root works on behalf of the user whom the aggregator runs as
    atomic_write(
        path,
        key_file(key.to_pem(), lengthened(signer.chain, link)),
        mode=SECRET,
        owner=(was.st_uid, was.st_gid),
    )
    atomic_write(public, ed25519.public_pem(key.public))
    return Rotation(signer.public, key.public)
