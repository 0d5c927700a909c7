"""Many new files at once: a folder that holds them until they are moved, and what cut-off runs left."""

import errno
import fcntl
import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from fedge.errors import StateError
from fedge.storage.batches import filled, left_behind, move_out

CONTENTS = {"one": b"1", "two": b"2"}


def test_files_are_aside_until_they_are_moved(tmp_path: Path) -> None:
    (tmp_path / "two").write_bytes(b"old")
    with filled(tmp_path, ".new-", CONTENTS, mode=0o600) as aside:
        assert {path.name: path.read_bytes() for path in aside.iterdir()} == CONTENTS
        assert {path.stat().st_mode & 0o777 for path in aside.iterdir()} == {0o600}
        assert aside.stat().st_mode & 0o777 == 0o700
        assert list(left_behind(tmp_path, ".new-")) == [], "somebody works with it"
    assert list(left_behind(tmp_path, ".new-")) == [aside]
    move_out(aside, ["two"], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"two": b"2"}
    move_out(aside, ["two"], tmp_path)  # somebody else has done it


@pytest.mark.parametrize("moment", ["before it is open", "before it is locked"])
def test_a_folder_that_is_swept_away_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Another run may take it for one that was cut off."""
    swept: list[Path] = []

    def sweep() -> None:
        if not swept:
            (folder,) = tmp_path.iterdir()
            folder.rmdir()
            swept.append(folder)

    mkdir, flock = os.mkdir, fcntl.flock

    def made(*arguments: Any, **named: Any) -> None:
        mkdir(*arguments, **named)
        if moment == "before it is open":
            sweep()

    def locked(descriptor: int, operation: int) -> None:
        if moment == "before it is locked":
            sweep()
        flock(descriptor, operation)

    monkeypatch.setattr(os, "mkdir", made)
    monkeypatch.setattr(fcntl, "flock", locked)
    with filled(tmp_path, ".new-", CONTENTS, mode=0o600) as aside:
        assert swept
        assert list(tmp_path.iterdir()) == [aside]
        assert len(list(aside.iterdir())) == 2


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(StateError, match=r"gone/\.new-.*: .*No such file"),
        filled(tmp_path / "gone", ".new-", CONTENTS, mode=0o600),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_nothing_is_left_when_the_disk_is_full_or_somebody_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: BaseException, after: int
) -> None:
    """In the middle of a file, between two, and when all are written but not yet durable."""
    fsync, calls = os.fsync, itertools.count()

    def full(descriptor: int) -> None:
        if next(calls) == after:
            raise failing
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    expected = StateError if isinstance(failing, OSError) else KeyboardInterrupt
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(expected), filled(tmp_path, ".new-", CONTENTS, mode=0o600):
        pytest.fail("it is not whole")
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_what_is_raised_inside_leaves_the_folder(tmp_path: Path) -> None:
    """Who works with it says what becomes of it."""
    with pytest.raises(KeyError), filled(tmp_path, ".new-", CONTENTS, mode=0o600) as aside:
        raise KeyError
    assert aside.exists()
