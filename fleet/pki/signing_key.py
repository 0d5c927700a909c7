"""Make the federation's signing key, and replace it in such a way that devices accept the new one."""

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
    """Make an Ed25519 key at `path`, readable by its owner alone; an existing one stays.

    Returns:
        The public key in PEM, for `signing.pub` and the devices' bundles.

    Raises:
        ConfigError: the file at `path` is no such key, or `cryptography` is not installed.
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
    """Replace the key at `path` by a new one; the old key signs it as its successor and is deleted.

    One rename replaces the key and its successions. Then `public` is replaced, for devices that are enrolled
    from now on. A device that is enrolled in between gets the old key, and accepts the new one as successor.

    Raises:
        ConfigError: there is no signing key of this federation at `path`.
        StateError: it cannot be written; the old key stays.
    """
    topics = Topics(federation)
    signer = read_signer(path, topics)
    key = ed25519.generate()
    link = succession(topics, signer.public, signer.sign, key.public)
    was = describe_file(path)  # root may run this for the user of the aggregator
    atomic_write(
        path,
        key_file(key.to_pem(), lengthened(signer.chain, link)),
        mode=SECRET,
        owner=(was.st_uid, was.st_gid),
    )
    atomic_write(public, ed25519.public_pem(key.public))
    return Rotation(signer.public, key.public)
