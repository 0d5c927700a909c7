"""The federation's signing key: made once, beside its public half."""

import os
from contextlib import suppress
from pathlib import Path

from fedge import ed25519
from fedge.errors import StateError
from fedge.store import sync_folder


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
        _create(path, ed25519.generate().to_pem())
    return ed25519.public_pem(ed25519.read_signing_key(path).public)


def _create(path: Path, data: bytes) -> None:
    """Write a file whole and durably, unless somebody else was faster."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor, to set the mode at creation)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise StateError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
