"""Root works in the state folder of an aggregator, in which its user has put links; see `planted.py`."""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aggregator.aggregation.generations import begin
from aggregator.aggregation.replay import replay
from aggregator.backup.new_generation import begin_next
from aggregator.backup.restore import restore
from aggregator.backup.snapshot import backup
from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import read_only
from aggregator.ledger.writing import Ledger
from fedge.errors import FedgeError
from fedge.storage import atomic_files, locks
from tests.hostile_services.planted import (
    PLANTED,
    ROOT_ONLY,
    SERVICE,
    Outside,
    attempt,
    plant,
)
from tests.wording import assert_tells, telling

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path) -> FederationSettings:
    toml = tmp_path / "federation.toml"
    toml.write_text(
        '[federation]\nname = "greenhouse"\n[model]\nfeatures = 2\nclasses = ["a", "b"]\n'
        '[state]\nfolder = "state"\n'
    )
    settings = FederationSettings.load(toml, {})
    state = atomic_files.make_folder(settings.state.folder)
    ledger = Ledger(state / FILE)
    begin(settings, ledger, bytes(16), 1)
    ledger.close()
    return settings


@pytest.fixture
def state(settings: FederationSettings) -> Iterator[Path]:
    state = settings.state.folder
    if os.geteuid() == 0:
        for path in (state, *state.iterdir()):
            os.chown(path, SERVICE, SERVICE)
    return state


@ROOT_ONLY
@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize(
    "name", [FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal", f".{FILE}.restored", "lock"]
)
def test_no_command_for_the_ledger_is_led_out_of_the_state_folder(
    settings: FederationSettings,
    state: Path,
    tmp_path: Path,
    outside: Outside,
    name: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = tmp_path / "kept.backup"
    backup(settings, kept)
    monkeypatch.setattr("aggregator.shell.startup.open_federation", lambda *_, **__: None)
    work: list[Callable[[], object]] = [
        lambda: backup(settings, tmp_path / "new.backup"),
        lambda: replay(state / FILE, 0, 1),
        lambda: restore(settings, kept, force=True),
        lambda: begin_next(settings),
    ]
    for each in work:
        plant(state / name, kind, outside)
        attempt(each)
        assert outside.is_as_it_was()


@ROOT_ONLY
@pytest.mark.parametrize("kind", PLANTED)
def test_a_backup_into_a_folder_of_the_service_is_written_there_or_nowhere(
    settings: FederationSettings, state: Path, outside: Outside, kind: str
) -> None:
    file = state / "new.backup"
    for name in (".new.backup.new", f".new.backup.{os.getpid()}"):
        plant(state / name, kind, outside)
    assert attempt(lambda: backup(settings, file)) is None
    assert file.stat().st_mode & 0o777 == 0o600
    plant(file, kind, outside)
    assert attempt(lambda: backup(settings, file)) is not None or not file.is_symlink()
    assert outside.is_as_it_was()
    inner = state / "inner"
    plant(inner, "folder", outside)
    refused = attempt(lambda: backup(settings, inner / "new.backup"))
    assert refused is not None
    assert_tells(refused, "inner", "link", str(SERVICE))
    assert outside.is_as_it_was()


@ROOT_ONLY
def test_what_is_restored_belongs_to_the_service(
    settings: FederationSettings, state: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.backup"
    backup(settings, kept)
    restore(settings, kept, force=True)
    assert {path.name: path.stat().st_uid for path in state.iterdir()}.pop(FILE) == SERVICE
    assert {path.stat().st_uid for path in state.iterdir()} == {SERVICE}


@ROOT_ONLY
@pytest.mark.parametrize("opens_now", [False, True], ids=["new", "there"])
def test_no_folder_that_is_exchanged_meanwhile_leads_a_backup_elsewhere(
    settings: FederationSettings,
    state: Path,
    outside: Outside,
    opens_now: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The folder that root makes for a moment is root's own, and lies in one of the service."""
    connect, precious = sqlite3.connect, outside.folder / FILE
    if opens_now:
        with closing(connect(precious)) as database:
            database.execute("CREATE TABLE precious (name TEXT)")
    before = {path.name: path.read_bytes() for path in precious.parent.iterdir()}

    def exchanged(address: str | Path, **more: Any) -> sqlite3.Connection:
        made = next(state.glob(".new.backup.*"), None)
        if made is None or "mode=ro" in str(address):
            return connect(address, **more)
        made.rename(state / "aside")
        made.symlink_to(precious.parent)
        try:
            return connect(address, **more)
        finally:
            made.unlink()
            (state / "aside").rename(made)

    monkeypatch.setattr(sqlite3, "connect", exchanged)
    assert attempt(lambda: backup(settings, state / "new.backup")) is not None
    assert {path.name: path.read_bytes() for path in precious.parent.iterdir()} == before


@ROOT_ONLY
@pytest.mark.parametrize("proc", [True, False], ids=["proc", "no_proc"])
def test_root_reads_a_ledger_again_and_again_that_it_has_open(
    state: Path, proc: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the closer does it for each round, where root runs the aggregator in a folder of somebody else's.

    SQLite keeps a descriptor that was closed while another connection had locks, and takes it again.
    """

    def nothing(path: object) -> list[str]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    if not proc:
        monkeypatch.setattr("fedge.storage.pinning.os.listdir", nothing)
    ledger = Ledger(state / FILE)
    for _ in range(3):
        with read_only(state / FILE) as reader:
            assert reader.meta() is not None
    ledger.close()


@ROOT_ONLY
@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP])
def test_root_of_a_container_works_in_a_folder_whose_owner_it_cannot_name(
    state: Path, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a user namespace without that user or group the system says EINVAL."""

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    (state / FILE).unlink()
    monkeypatch.setattr(os, "fchown", refused)
    os.close(locks.lock(state))
    Ledger(state / FILE).close()
    assert (state / FILE).stat().st_uid == 0
    with pytest.raises(FedgeError, match=telling("owner")):
        atomic_files.give_to_owner(state, state / FILE)
    atomic_files.give_to_owner(tmp_path, tmp_path / "federation.toml")  # is right already
