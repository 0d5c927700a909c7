"""A file is written whole or not at all, and a folder is its owner's alone."""

import os
import re
from pathlib import Path

import pytest

from fedge.errors import StateError
from fedge.storage.atomic_files import atomic_write, make_folder, remove
from tests.fedge.disks import full_disk, names


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    atomic_write(path, b"old")
    with path.open("rb") as reader:
        atomic_write(path, memoryview(b"new"), mode=0o600)
        assert reader.read() == b"old", "who reads it meanwhile reads one of the two"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == {"model"}


def test_fault_35_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model"
    atomic_write(path, b"old")
    with full_disk(), pytest.raises(StateError, match=r"model: .*File too large"):
        atomic_write(path, bytes(2_000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"model"}, "nothing is left behind"


def test_data_is_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    atomic_write(path, b"old")
    happened: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        happened.append("fsync folder" if target == tmp_path.resolve() else "fsync file")
        fsync(descriptor)

    def noted_rename(*names: str, **folders: int) -> None:
        happened.append("rename")
        rename(*names, **folders)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    atomic_write(path, b"new")
    assert happened == ["fsync file", "rename", "fsync folder"]


def test_fault_36_a_failing_fsync_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    atomic_write(path, b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StateError, match=r"model: .*Input/output error"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"model"}


def test_a_file_left_by_a_power_cut_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".model.new").write_bytes(bytes(100))
    atomic_write(tmp_path / "model", b"new")
    assert names(tmp_path) == {"model"}


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_link_put_in_the_way_is_not_written_through(tmp_path: Path, kind: str) -> None:
    other = tmp_path / "somebody else's"
    other.write_bytes(b"theirs")
    if kind == "symbolic":
        (tmp_path / ".model.new").symlink_to(other)
    else:
        (tmp_path / ".model.new").hardlink_to(other)
    atomic_write(tmp_path / "model", b"new")
    assert other.read_bytes() == b"theirs"
    assert (tmp_path / "model").read_bytes() == b"new"
    assert not (tmp_path / "model").is_symlink()
    assert names(tmp_path) == {"model", other.name}


def test_a_file_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"gone/.*: .*No such file"):
        atomic_write(tmp_path / "gone" / "model", b"x")


def test_removing_is_idempotent(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"x")
    remove(path)
    remove(path)
    assert not path.exists()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StateError, match="folder: "):
        remove(tmp_path / "folder")


# ── folders ────────────────────────────────────────────────────────────────────────────────────────


def test_a_state_folder_is_its_owners_alone(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a" / "b")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert make_folder(folder) == folder


@pytest.mark.parametrize("where", ["file/state", "file"])
def test_a_folder_that_cannot_be_is_said(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateError, match=re.escape(f"{tmp_path / where}: ")):
        make_folder(tmp_path / where)


def test_fault_37_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # for root every folder is writable
    with pytest.raises(StateError, match=rf"{re.escape(str(tmp_path))}: .*writable"):
        make_folder(tmp_path)
