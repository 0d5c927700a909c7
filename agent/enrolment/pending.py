"""An unfinished request for a certificate. Its key is on disk before the request is sent.

So after an interruption the next run continues with the same key. The registrar signs the same request only
once, and repeats its answer whenever it is asked again.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.enrolment.certificates import KeyAndRequest
from fedge.errors import StateError
from fedge.storage.atomic_files import atomic_write, make_folder
from fedge.storage.files import sync_folder
from fedge.storage.locks import lock

REQUEST = "request.pem"


class Pending:
    """The folder of an unfinished request. Only one process at a time works in it.

    Args:
        folder: the folder. It is created if necessary, and only its owner can read it.

    Raises:
        Conflict: another process works in the folder.
        StateError: the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = make_folder(folder)
        self._lock = lock(folder)

    def close(self) -> None:
        """Release the folder for other processes. An unfinished request stays."""
        os.close(self._lock)

    def key_and_request(self, common_name: str) -> KeyAndRequest:
        """Return the unfinished request for this name, or a new one. It is durable on return."""
        path = self.folder / REQUEST
        begun = self.begun()
        if begun is not None and begun.common_name == common_name:
            return begun
        made = KeyAndRequest.make(common_name)
        atomic_write(path, made.pem, mode=0o600)
        return made

    def begun(self) -> KeyAndRequest | None:
        """Return the unfinished request; None: there is none that can be read."""
        with suppress(OSError, ValueError):
            return KeyAndRequest.read((self.folder / REQUEST).read_bytes())
        return None

    def write(self, name: str, content: str) -> Path:
        """Write a file into the folder, which is needed until the request is finished; return its path."""
        path = self.folder / name
        atomic_write(path, content.encode(), mode=0o600)
        return path

    def password(self, name: str) -> str:
        """Return a random password. It stays the same until the request is finished, because the registrar
        may know it already."""
        path = self.folder / name
        with suppress(OSError, ValueError):
            if kept := path.read_text(encoding="ascii").strip():
                return kept
        made = secrets.token_urlsafe(32)
        self.write(name, f"{made}\n")
        return made

    def finish(self) -> None:
        """Remove the finished request.

        Raises:
            StateError: the folder cannot be removed.
        """
        try:
            shutil.rmtree(self.folder)
            sync_folder(self.folder.parent)
        except OSError as error:
            raise StateError(f"{self.folder}: cannot be removed: {error.strerror or error}") from error


@contextmanager
def pending(folder: Path) -> Iterator[Pending]:
    """Lock the folder, and release it at the end."""
    work = Pending(folder)
    try:
        yield work
    finally:
        work.close()
