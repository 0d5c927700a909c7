"""Root works in folders of services, whose users have put links wherever the work could be led elsewhere.

Each case plants one thing, runs one command's function, and looks at what lies outside: content, owner and
mode are as they were, and nothing new stands beside it. The command may refuse in one sentence, or replace
a link itself.
"""

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aggregator.aggregation.generations import begin
from aggregator.aggregation.replay import replay
from aggregator.backup.new_generation import begin_next
from aggregator.backup.restore import restore
from aggregator.backup.snapshot import backup
from aggregator.cli.installation import ownership
from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import read_only
from aggregator.ledger.writing import Ledger
from fedge.errors import FedgeError
from fedge.storage import atomic_files, locks
from fleet.pki import init_folders
from fleet.pki.device_list import listing
from fleet.pki.enrolment import admit_observer, enroll, enroll_all
from fleet.pki.folder import FederationFolder
from fleet.pki.identity import Identity
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.renewal import renew
from fleet.pki.revocation import revoke
from fleet.pki.signing_key import rotate_signing_key
from fleet.pki.tokens import promise
from tests.wording import assert_tells, telling

pytestmark = pytest.mark.slow

SERVICE, BROKER = 41_001, 41_002
"""Users that need no name."""
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="a service's user is another one only for root")
SECRET = b"root:precious:0:0"
NEW = Founding("greenhouse", ["broker.example"])


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


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path / "etc")


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


# ── the federation's folder ────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pristine") / "greenhouse"
    folder = FederationFolder(root)
    found(folder, NEW)
    enroll(folder, "pi-1")
    return root


@pytest.fixture
def folder(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FederationFolder:
    """As it is when it was installed: `registrar/` and `broker/` belong to the registrar's user."""
    monkeypatch.setattr(init_folders, "BROKER_GROUP", "root")  # there is such a group everywhere
    root = tmp_path / "greenhouse"
    shutil.copytree(pristine, root)
    for part, owner in (("registrar", SERVICE), ("broker", SERVICE)):
        for path in (root / part, *(root / part).iterdir()):
            os.chown(path, owner, owner)
    os.chown(root / "broker" / "data", BROKER, BROKER)
    return FederationFolder(root)


def sign_anew(folder: FederationFolder) -> None:
    rotate_signing_key(folder.signing_key, folder.signing_public, "greenhouse")


WORK: dict[str, Callable[[FederationFolder], object]] = {
    "init": lambda folder: found(folder, NEW),
    "enroll": lambda folder: enroll(folder, "pi-2"),
    "enroll many": lambda folder: enroll_all(folder, [Identity("greenhouse", f"pi-{n}") for n in (3, 4)]),
    "observer": admit_observer,
    "token": lambda folder: promise(folder, 1, timedelta(hours=1)),
    "revoke": lambda folder: revoke(folder, "pi-1"),
    "renew": lambda folder: renew(folder, force=True),
    "devices": listing,
    "rotate-key": sign_anew,
}
OF_SERVICES = (
    "registrar/ca.key", "registrar/identity.pem", "registrar/registrar.toml", "registrar/registrar.db",
    "registrar/registrar.db-wal", "registrar/registrar.db-shm", "registrar/registrar.db-journal",
    "broker/acl", "broker/passwords", "broker/crl.pem", "broker/ca.pem", "broker/identity.pem",
    "broker/mosquitto.conf", "broker/data", "broker/data/mosquitto.pid", "registrar/publishing",
)  # fmt: skip


@ROOT_ONLY
@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("name", OF_SERVICES)
def test_no_command_is_led_out_of_the_folder_by_what_stands_for_a_file(
    folder: FederationFolder, outside: Outside, name: str, kind: str
) -> None:
    for work in WORK.values():
        if (folder.root / name).parent.is_dir() and (folder.root / name).parent.resolve() != outside.folder:
            plant(folder.root / name, kind, outside)
        attempt(lambda work=work: work(folder))  # type: ignore[misc]
        assert outside.is_as_it_was(), work


@ROOT_ONLY
@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("work", WORK)
def test_no_command_is_led_out_by_a_name_that_it_writes_to_first(
    folder: FederationFolder, outside: Outside, work: str, kind: str
) -> None:
    for name in OF_SERVICES[:12]:
        path = folder.root / name
        for temporary in (f".{path.name}.new", f".{path.name}.{os.getpid()}", f"{path.name}.tmp"):
            plant(path.with_name(temporary), kind, outside)
        if work == "init" and not name.endswith((".db", ".key", ".toml")):
            path.unlink(missing_ok=True)  # so that it is made anew
    refused = attempt(lambda: WORK[work](folder))
    if work == "init" and kind in ("hard", "pipe"):  # it hands over all that is there
        assert refused is not None
    else:
        assert refused is None, "what lies beside is no hindrance"
    assert outside.is_as_it_was()


@ROOT_ONLY
def test_what_a_link_points_at_is_not_told_to_everybody(folder: FederationFolder, outside: Outside) -> None:
    """`ca.pem` of the folder is public, and made from that in `broker/`."""
    folder.ca.unlink()
    plant(folder.broker_ca, "link", outside)
    refused = attempt(lambda: found(folder, NEW))
    assert refused is not None
    assert_tells(refused, "ca.pem", "link")
    assert not folder.ca.exists()


@ROOT_ONLY
def test_a_link_of_roots_own_is_followed_where_only_root_could_put_it(
    folder: FederationFolder, tmp_path: Path
) -> None:
    """As `registrar/` and `broker/` of a federation that shares another's."""
    second = FederationFolder(tmp_path / "harbour")
    assert attempt(lambda: found(second, Founding("harbour", ["broker.example"]), folder)) is None
    assert second.broker.is_symlink()
    assert attempt(lambda: enroll(second, "pi-1")) is None
    assert "harbour_pi-1" in folder.acl.read_text()


@ROOT_ONLY
@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("part", ["registrar", "broker"])
def test_installing_again_gives_nothing_away_that_was_linked_there(
    folder: FederationFolder, outside: Outside, part: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "REGISTRAR", "root")
    monkeypatch.setattr(ownership, "run", lambda _command: "")
    for name in ("extra", "identity.pem"):
        plant(folder.root / part / name, kind, outside)
    for work in (ownership.hand_over, lambda root: ownership.give_back([root])):
        attempt(lambda work=work: work(folder.root))  # type: ignore[misc]
        assert outside.is_as_it_was()


# ── the aggregator's state folder ──────────────────────────────────────────────────────────────────


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


# ── files, for whoever runs the program ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["link", "dangling", "hard"])
def test_a_link_is_replaced_itself(tmp_path: Path, outside: Outside, kind: str) -> None:
    path = tmp_path / "model"
    PLANTED[kind](path, outside)
    atomic_files.atomic_write(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
    assert outside.file.read_bytes() == SECRET
    assert outside.file.stat().st_mode & 0o777 == 0o640
