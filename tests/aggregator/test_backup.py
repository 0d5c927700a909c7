"""Copies of the ledger and their way back: whole or not at all, and never over what is newer."""

import errno
import io
import json
import os
import re
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from aggregator.__main__ import main
from aggregator.backup import archive, state_dir
from aggregator.backup.restore import restore
from aggregator.backup.snapshot import backup
from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE, MIGRATIONS
from aggregator.ledger.reading import read_only
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.writing import Ledger
from fedge.deployment import units
from fedge.errors import ConfigError, Conflict, DamagedState, StateError
from fedge.storage import atomic_files, locks
from fedge.wire.freshness import RoundId
from fleet.cli import replay as replaying
from tests.aggregator.ledger.ledgers import admit, close, count
from tests.wording import assert_tells, telling

TOML = """\
[federation]
name = "{name}"
[model]
features = 2
classes = ["idle", "busy"]
"""


class Server:
    """A folder with a federation and its ledger."""

    def __init__(self, folder: Path, name: str = "greenhouse") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.config = folder / "federation.toml"
        self.config.write_text(TOML.format(name=name))
        self.settings = FederationSettings.load(self.config, {})
        self.state = atomic_files.make_folder(self.settings.state.folder)

    def learn(self, rounds: int, generation: int = 1) -> None:
        """Go on to so many closed rounds."""
        ledger = Ledger(self.state / FILE)
        with ledger.transaction():
            ledger.begin_generation(LedgerMeta(b"l" * 16, generation, "{}"))
            for number in range(rounds):
                admit(ledger, "pi-1", RoundId(generation, number))
                close(ledger, RoundId(generation, number))
        ledger.close()

    def newest(self) -> RoundId | None:
        with read_only(self.state / FILE) as ledger:
            return ledger.newest_round()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "server")


@pytest.fixture
def other(tmp_path: Path) -> Server:
    return Server(tmp_path / "other")


@pytest.fixture
def file(server: Server) -> Path:
    """A backup of round 1.3."""
    server.learn(3)
    path = server.folder / "copy"
    backup(server.settings, path)
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ── making one ─────────────────────────────────────────────────────────────────────────────────────


def test_a_backup_has_what_was_committed_and_nothing_else(server: Server, other: Server) -> None:
    server.learn(3)
    path = server.folder / "copy"
    writing = Ledger(server.state / FILE)  # the aggregator at work, in the middle of a transaction
    with writing.transaction():
        close(writing, RoundId(1, 3))
        about = backup(server.settings, path)
    writing.close()
    assert server.newest() == (1, 4)
    assert (about.federation, about.generation, about.round) == ("greenhouse", 1, 3)
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(server.folder) == {"copy", "federation.toml", "state"}

    assert restore(other.settings, path, force=False) == (about, None)
    assert names(other.state) == {FILE, "lock"}
    assert (other.state / FILE).stat().st_mode & 0o777 == 0o600
    assert other.newest() == (1, 3)
    assert count(other.state / FILE, "answers") == count(server.state / FILE, "answers") == 3


def test_a_newer_backup_takes_the_place_of_an_older_one_and_of_nothing_else(
    server: Server, file: Path
) -> None:
    server.learn(5)
    assert backup(server.settings, file).round == 5
    before = server.config.read_bytes()
    with pytest.raises(StateError, match=telling("federation.toml: ", "backup")):
        backup(server.settings, server.config)
    assert server.config.read_bytes() == before


def test_what_cannot_be_kept_makes_no_backup_and_leaves_the_older_one(server: Server, file: Path) -> None:
    before = file.read_bytes()
    with closing(sqlite3.connect(server.state / FILE)) as db:
        db.execute("UPDATE contents SET data = zeroblob(9)")
        db.commit()
    with pytest.raises(DamagedState, match=telling(FILE, "digest")):
        backup(server.settings, file)
    (server.state / FILE).write_bytes(bytes(100_000))
    with pytest.raises(StateError):
        backup(server.settings, file)
    (server.state / FILE).unlink()
    with pytest.raises(StateError, match=telling(FILE)):
        backup(server.settings, file)
    Ledger(server.state / FILE).close()
    with pytest.raises(StateError, match=telling(FILE, "no round")):
        backup(server.settings, file)
    assert file.read_bytes() == before
    assert names(server.folder) == {"copy", "federation.toml", "state"}


def test_a_folder_that_is_not_there_is_named(server: Server) -> None:
    server.learn(1)
    with pytest.raises(StateError, match=telling("nowhere/copy: ", os.strerror(errno.ENOENT))):
        backup(server.settings, server.folder / "nowhere" / "copy")


# ── putting it back ────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_restored_under_an_aggregator_at_work(server: Server, file: Path) -> None:
    held = locks.lock(server.state)
    with pytest.raises(Conflict, match=f"process {os.getpid()} "):
        restore(server.settings, file, force=True)
    os.close(held)


@pytest.mark.parametrize("rounds", [3, 4])
def test_a_ledger_that_is_not_older_stays_unless_forced(server: Server, file: Path, rounds: int) -> None:
    server.learn(rounds)
    with pytest.raises(ConfigError, match=telling(f"1.{rounds}", "1.3")):
        restore(server.settings, file, force=False)
    assert server.newest() == (1, rounds)
    _, aside = restore(server.settings, file, force=True)
    assert server.newest() == (1, 3)
    assert aside is not None
    with read_only(aside) as ledger:
        assert ledger.newest_round() == (1, rounds)


def test_an_older_or_damaged_ledger_is_put_aside(other: Server, file: Path) -> None:
    other.learn(2)
    _, aside = restore(other.settings, file, force=False)
    assert (other.newest(), aside and aside.name) == ((1, 3), "ledger.db.quarantine-1")
    (other.state / FILE).write_bytes(b"\x00" * 50_000)
    _, aside = restore(other.settings, file, force=False)
    assert (other.newest(), aside and aside.name) == ((1, 3), "ledger.db.quarantine-2")


def test_every_flipped_byte_and_every_end_that_is_missing_is_noticed(other: Server, file: Path) -> None:
    whole = file.read_bytes()
    damaged = file.with_name("damaged")
    with tarfile.open(file) as tar:
        about, ledger = tar.getmembers()
        used = (
            *range(about.offset_data, about.offset_data + about.size),
            ledger.offset_data + ledger.size - 1,
        )
    told = about.offset_data + whole[about.offset_data :].index(b"made_at"), len(b'made_at": "') + 25
    free = range(told[0], told[0] + told[1])  # for people: any text will do
    for at in (*used[::7], *range(ledger.offset_data, ledger.offset_data + ledger.size, 3_001)):
        if at in free or b'"fedge"' in whole[at - 20 : at + 20]:
            continue
        damaged.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises((StateError, ConfigError)):
            restore(other.settings, damaged, force=False)
    for length in (
        0,
        1,
        511,
        513,
        about.offset_data + 10,
        ledger.offset_data + 10,
        ledger.offset_data + 9_000,
    ):
        damaged.write_bytes(whole[:length])
        with pytest.raises(StateError, match="damaged"):
            restore(other.settings, damaged, force=False)
    assert names(other.state) == {"lock"}


def _tar(path: Path, *entries: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def test_names_in_an_archive_lead_nowhere(other: Server, tmp_path: Path) -> None:
    for entries in (
        [("../../evil", b"x"), (FILE, b"x")],
        [(archive.ABOUT, b"{}"), ("/etc/passwd", b"x")],
        [(archive.ABOUT, b"{}")],
        [(archive.ABOUT, b" " * 70_000), (FILE, b"x")],
        [],
    ):
        with pytest.raises(StateError, match=telling(f"{tmp_path / 'tar'}: ", "backup")):
            restore(other.settings, _tar(tmp_path / "tar", *entries), force=False)
    with pytest.raises(StateError, match=telling("backup.json: ")):
        restore(other.settings, _tar(tmp_path / "tar", (archive.ABOUT, b"{}"), (FILE, b"x")), force=False)
    assert names(other.state) == {"lock"}


def test_another_federations_backup_is_not_restored(tmp_path: Path, file: Path) -> None:
    stranger = Server(tmp_path / "stranger", name="barn")
    with pytest.raises(ConfigError, match=r"'greenhouse'.* 'barn'"):
        restore(stranger.settings, file, force=True)
    assert names(stranger.state) == {"lock"}


def test_a_backup_of_a_newer_program_is_left_alone(server: Server, other: Server) -> None:
    server.learn(1)
    newer = len(MIGRATIONS) + 1
    with closing(sqlite3.connect(server.state / FILE)) as db:
        db.execute(f"PRAGMA user_version = {newer}")
        db.execute(f"PRAGMA application_id = {0x46650000 + newer}")
    copy = server.state / FILE
    size, digest = archive.digest_of(copy)
    about = archive.About(
        fedge="9.0", federation="greenhouse", ledger="00" * 16, generation=1, round=1,
        made_at="", size=size, sha256=digest,
    )  # fmt: skip
    archive.write(server.folder / "newer", about, copy)
    with pytest.raises(StateError, match=telling("newer: ", f"layout {newer}")):
        restore(other.settings, server.folder / "newer", force=False)
    assert names(other.state) == {"lock"}


def test_a_log_that_a_power_cut_left_is_not_played_into_the_restored_ledger(
    server: Server, other: Server, file: Path
) -> None:
    other.learn(1)
    ledger = Ledger(other.state / FILE)
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(b"x" * 16, 9, "{}"))
    log = (other.state / f"{FILE}-wal").read_bytes()
    ledger.close()
    for file_of_it in names(other.state):
        (other.state / file_of_it).unlink()
    for name in (f"{FILE}-wal", f".{FILE}.restored-wal"):
        (other.state / name).write_bytes(log)
    restore(other.settings, file, force=False)
    assert other.newest() == RoundId(1, 3)
    assert f"{FILE}.quarantine-1-wal" in names(other.state)


@pytest.mark.skipif(os.geteuid() != 0, reason="root works in the place of the service's user")
def test_what_root_leaves_there_belongs_to_the_owner_of_the_folder(other: Server, file: Path) -> None:
    os.chown(other.state, 12345, 12346)
    restore(other.settings, file, force=False)
    backup(other.settings, file)
    assert names(other.state) >= {FILE, "lock"}
    assert {(path.stat().st_uid, path.stat().st_gid) for path in other.state.iterdir()} == {(12345, 12346)}


def test_an_installed_federations_ledger_is_where_its_service_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_dir, "FEDERATIONS", tmp_path)
    config = Server(tmp_path / "greenhouse").config
    monkeypatch.setattr(state_dir, "STATES", tmp_path / "states")
    found = state_dir.load(config, {})
    assert found.state.folder == tmp_path / "states/greenhouse"
    assert found.export.folder == tmp_path / "states/greenhouse/export"
    said = {"FEDGE_AGGREGATOR_STATE__FOLDER": str(tmp_path / "mine")}
    assert state_dir.load(config, said).state.folder == tmp_path / "mine"
    monkeypatch.setattr(state_dir, "FEDERATIONS", tmp_path / "elsewhere")
    assert state_dir.load(config, {}).state.folder == tmp_path / "greenhouse" / "state"


def test_the_folders_of_a_service_are_those_of_its_unit() -> None:
    unit = units.shipped("systemd/fedge-aggregator@.service").decode()
    said = re.findall(
        r"^Environment=(FEDGE_AGGREGATOR_\w+__FOLDER)=%S/fedge-aggregator/%i/?(.*)$", unit, re.M
    )
    assert dict(said) == state_dir.FOLDERS
    assert state_dir.STATES == units.STATE / "fedge-aggregator"


def test_check_and_replay_ask_an_installed_federations_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(state_dir, "FEDERATIONS", tmp_path)
    monkeypatch.setattr(state_dir, "STATES", tmp_path / "states")
    config = Server(tmp_path / "greenhouse").config
    assert main(["--config", str(config), "--check", "--json"]) == 0
    understood = json.loads(capsys.readouterr().out)
    assert understood["state"] == str(tmp_path / "states/greenhouse")
    assert understood["export"] == str(tmp_path / "states/greenhouse/export")
    with pytest.raises(StateError, match=telling(f"states/greenhouse/{FILE}: ")):
        replaying.run(config, 1)


# ── the commands ───────────────────────────────────────────────────────────────────────────────────


def test_the_commands_say_what_they_did_and_end_with_the_codes_of_all_programs(
    server: Server, other: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.learn(3)
    path = str(server.folder / "copy")
    assert main(["--config", str(server.config), "backup", path]) == 0
    assert_tells(capsys.readouterr().out, "greenhouse", "round 1.3")
    assert main(["restore", path, "--config", str(other.config)]) == 0
    assert_tells(capsys.readouterr().out, "greenhouse", "round 1.3")
    assert main(["restore", path, "--config", str(other.config)]) == os.EX_CONFIG
    assert main(["restore", path, "--force", "--config", str(other.config)]) == 0
    assert "ledger.db.quarantine-1" in capsys.readouterr().out
    assert main(["restore", path + ".not", "--config", str(other.config)]) == os.EX_IOERR
    with tarfile.open(path) as tar:
        member = tar.extractfile(archive.ABOUT)
        assert member is not None
        assert json.load(member)["federation"] == "greenhouse"
