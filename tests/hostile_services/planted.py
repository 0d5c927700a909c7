"""What users of services put where root works, and what it would lead to.

Each case plants one thing, runs one command's function, and looks at what lies outside: content, owner and
mode are as they were, and nothing new stands beside it. The command may refuse in one sentence, or replace
a link itself.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fedge.errors import FedgeError

SERVICE, BROKER = 41_001, 41_002
"""Users that need no name."""

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="a service's user is another one only for root")

SECRET = b"root:precious:0:0"


class Outside:
    """What a link leads to: a file of root's, and the folder it lies in."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o755)
        self.folder, self.file = folder, folder / "shadow"
        self.file.write_bytes(SECRET)
        self.file.chmod(0o640)
        self._before = self._seen()

    def _seen(self) -> tuple[object, ...]:
        found, around = self.file.lstat(), self.folder.lstat()
        return (
            self.file.read_bytes(), found.st_mode, found.st_uid, found.st_gid, found.st_ino,
            around.st_mode, around.st_uid, around.st_gid, sorted(path.name for path in self.folder.iterdir()),
        )  # fmt: skip

    def is_as_it_was(self) -> bool:
        return self._seen() == self._before


def attempt(work: Callable[[], object]) -> str | None:
    """Do it; returns what it was refused with, which is one sentence."""
    try:
        work()
    except FedgeError as error:
        text = str(error)
        assert "\n" not in text, text
        assert SECRET.decode() not in text
        return text
    return None


PLANTED: dict[str, Callable[[Path, Outside], None]] = {
    "link": lambda path, outside: path.symlink_to(outside.file),
    "dangling": lambda path, outside: path.symlink_to(outside.folder / "cron"),
    "hard": lambda path, outside: path.hardlink_to(outside.file),
    "folder": lambda path, outside: path.symlink_to(outside.folder),
    "pipe": lambda path, outside: os.mkfifo(path),
}


def plant(path: Path, kind: str, outside: Outside) -> None:
    """Put it there in the place of whatever there is, as the folder's owner can."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    PLANTED[kind](path, outside)
    if kind != "hard":
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
