"""One process works in a folder at a time."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedge.errors import Conflict, StateError
from fedge.storage.atomic_files import atomic_write
from fedge.storage.locks import lock
from tests.fedge.disks import full_disk, names
from tests.wording import assert_tells


def test_one_process_works_in_a_folder(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from fedge.storage.locks import Conflict, lock\n"
        "try: lock(Path(sys.argv[1]))\n"
        "except Conflict as error: print(error)\n"
        "else: print('locked')"
    )

    def other() -> str:
        command = [sys.executable, "-c", script, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    held = lock(tmp_path)
    assert_tells(other(), f"{tmp_path}: ", f" {os.getpid()} ")
    with pytest.raises(Conflict, match=rf" {os.getpid()} "):
        lock(tmp_path)
    os.close(held)
    assert other() == "locked", "a lock ends with its process"
    os.close(lock(tmp_path))


def test_a_lock_that_cannot_be_is_a_fault_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StateError, match=r"lock: .*Is a directory"):
        lock(tmp_path)

    def no_locks(_descriptor: int, _how: int) -> None:
        raise OSError(37, "No locks available")

    (tmp_path / "lock").rmdir()
    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(StateError, match=r"lock: .*No locks available"):
        lock(tmp_path)


def test_a_file_is_written_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a home on a network's disk: only what sweeps up after a power cut needs them."""

    def no_locks(_descriptor: int, _how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    for content in (b"first", b"second"):
        atomic_write(tmp_path / "model", content)
    assert (tmp_path / "model").read_bytes() == b"second"
    assert names(tmp_path) == {"model"}


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("somebody else's")
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    with pytest.raises(StateError, match="lock: "):
        lock(tmp_path)
    assert (tmp_path / "other").read_text() == "somebody else's"


def test_a_full_disk_still_locks(tmp_path: Path) -> None:
    with full_disk(0):
        held = lock(tmp_path)
    with pytest.raises(Conflict, match=f"{re.escape(str(tmp_path))}: .*unknown"):
        lock(tmp_path)
    os.close(held)
