"""`fedge forget`: what it shows, what it asks for, what it removes, and what it says that it cannot."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from aggregator.ledger.writing import Ledger
from fedge.errors import StateError
from fedge.storage.atomic_files import make_folder
from fedge.storage.locks import lock
from fedge.wire.freshness import RoundId
from fleet.pki import removal
from fleet.pki.folder import FederationFolder
from fleet.pki.identity import Identity
from fleet.pki.publication import Signalled
from fleet.pki.register import Register
from tests.aggregator.ledger.ledgers import LIFE, admit, close
from tests.fleet.pki.test_quarantine import fedge, folder
from tests.wording import assert_tells

__all__ = ["folder"]
NOBODY = 65_534


@pytest.fixture
def state(folder: FederationFolder) -> Path:
    """The ledger of two closed rounds in which pump-2 counts."""
    state = make_folder(folder.root / "state")
    ledger = Ledger(state / "ledger.db")
    with ledger.transaction():
        ledger.begin_generation(LIFE)
        for number in (3, 4):
            for device in ("pump-1", "pump-2"):
                admit(ledger, device, RoundId(1, number))
            close(ledger, RoundId(1, number))
    ledger.close()
    return state


def test_it_says_what_it_removes_and_what_stays_before_it_does_anything(
    folder: FederationFolder, state: Path
) -> None:
    fedge(folder, "quarantine", "pump-2")
    before = (state / "ledger.db").read_bytes()
    shown = fedge(folder, "forget", "pump-2")
    assert shown.exit_code == 64
    assert "--yes" in shown.stderr
    removed, _, stays = shown.stdout.partition("stays")
    for fact in ("rounds 3 to 4 of generation 1 ", "register", str(folder.bundle("pump-2")), "quarantine"):
        assert fact in removed
    assert_tells(stays, "round 1.4", "backups")
    assert (state / "ledger.db").read_bytes() == before

    done = fedge(folder, "forget", "pump-2", "--yes")
    assert done.exit_code == 0, done.output
    assert_tells(done.stdout, "pump-2 ", "register")
    assert "fedge/v1/greenhouse/status/pump-2" in done.stdout
    assert not folder.bundle("pump-2").exists()
    assert "pump-2" not in (folder.root / "quarantined").read_text()
    again = fedge(folder, "forget", "pump-2", "--yes")
    assert again.exit_code == 0
    assert "rounds 3 to 4" not in again.stdout
    assert "revoked" in fedge(folder, "devices").stdout


def test_its_name_goes_when_its_certificates_have_ended(
    folder: FederationFolder, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Identity("greenhouse", "pump-2")
    fedge(folder, "forget", "pump-2", "--yes")
    with Register(folder.register) as register:
        ((pem, request, renewal),) = register.run(
            "SELECT pem, request, renewal FROM certificates JOIN identities ON identity = name"
            " WHERE identity = ?",
            identity.name,
        )
        assert (pem, request, renewal) == (b"", None, None)
        assert register.revoked(), "its certificate is refused"
        ended = time.time() + 400 * 86_400
        with register.transaction():
            assert not register.forget(identity, ended, erased=False)
        assert register.member(identity) is not None, "its status is still to be erased"
        with register.transaction():
            assert not register.forget(identity, ended, erased=True)
        register.wipe()
    held = b"".join(file.read_bytes() for file in folder.registrar.glob("registrar.db*"))
    assert b"pump-2" not in held
    assert b"pump-1" in held
    nothing = fedge(folder, "forget", "pump-2", "--yes")
    assert nothing.exit_code == 0
    assert "there is nothing of pump-2 here" in nothing.stdout


def test_nothing_is_changed_while_an_aggregator_is_at_work(folder: FederationFolder, state: Path) -> None:
    held = lock(state)
    result = fedge(folder, "forget", "pump-2", "--yes")
    assert result.exit_code == 75
    assert_tells(result.stderr, f"{state}: ", f" {os.getpid()} ", "stop the aggregator")
    os.close(held)
    assert removal.held(folder, "pump-2").bundle is not None
    with Register(folder.register) as register:
        member = register.member(Identity("greenhouse", "pump-2"))
    assert member is not None
    assert member.revoked_at is None


def test_a_name_that_is_none(folder: FederationFolder) -> None:
    assert fedge(folder, "forget", "PUMP 2", "--yes").exit_code == 64


def test_a_status_that_was_not_erased_is_not_lost_sight_of(
    folder: FederationFolder, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificates have ended, and no broker answers."""
    moment = removal.utc_now() + timedelta(days=400)
    monkeypatch.setattr(removal, "utc_now", lambda: moment)
    for _ in range(2):
        done = fedge(folder, "forget", "pump-2", "--yes")
        assert done.exit_code == 0, done.output
        assert_tells(done.stdout, "again", "fedge/v1/greenhouse/status/pump-2")
    monkeypatch.setattr(removal, "publish", lambda *_: Signalled.YES)
    monkeypatch.setattr(removal, "dismiss", lambda *_, erase: erase)
    assert "fedge/v1/" not in fedge(folder, "forget", "pump-2", "--yes").stdout
    assert "there is nothing of pump-2 here" in fedge(folder, "forget", "pump-2", "--yes").stdout


def test_a_register_that_was_not_written_anew_is_so_by_the_next_run(
    folder: FederationFolder, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StateError("database or disk is full")

    moment = removal.utc_now() + timedelta(days=400)
    monkeypatch.setattr(removal, "utc_now", lambda: moment)
    monkeypatch.setattr(removal, "publish", lambda *_: Signalled.YES)
    monkeypatch.setattr(removal, "dismiss", lambda *_, erase: erase)
    with monkeypatch.context() as patch:
        patch.setattr("fleet.pki.register.wipe", full)
        assert fedge(folder, "forget", "pump-2", "--yes").exit_code == 74
    assert b"pump-2" in held_in(folder)
    assert not removal.held(folder, "pump-2").enrolled
    assert_tells(fedge(folder, "forget", "pump-2", "--yes").stdout, "interrupted", "removed", "free pages")
    assert b"pump-2" not in held_in(folder)
    assert not folder.unwiped.exists()
    assert "there is nothing of pump-2 here" in fedge(folder, "forget", "pump-2", "--yes").stdout


def held_in(folder: FederationFolder) -> bytes:
    return b"".join(file.read_bytes() for file in folder.registrar.glob("registrar.db*"))


@pytest.mark.parametrize(
    ("device", "command"), [("pump-2", "forget"), ("pump-9", "forget"), ("pump-2", "revoke")]
)
def test_a_bundle_that_a_killed_enrolment_left_is_removed(
    folder: FederationFolder, state: Path, device: str, command: str
) -> None:
    """Its private key is in it."""
    aside = folder.devices / ".enrolling-killed"
    aside.mkdir(mode=0o700)
    (aside / f"{device}.fedge").write_bytes(folder.bundle("pump-2").read_bytes())
    done = fedge(folder, command, device, *(["--yes"] if command == "forget" else []))
    assert done.exit_code == 0, done.output
    assert ("that an interrupted `fedge enroll` has left" in done.stdout) is (command == "forget")
    assert not list(folder.devices.glob(f"**/{device}.fedge"))
    if device == "pump-9":
        assert "there is nothing of pump-9 here" in fedge(folder, "forget", device, "--yes").stdout


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """As another user, who may look into a folder."""
    above = [place for place in folder.parents if place.stat().st_uid == 0 and place != place.parent]
    modes = {place: place.stat().st_mode & 0o7777 for place in above}
    for place, mode in modes.items():
        place.chmod(mode | 0o011)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        for place, mode in modes.items():
            place.chmod(mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_folder_that_is_closed_to_this_user_is_named(folder: FederationFolder, state: Path) -> None:
    commands = (["forget", "pump-2", "--yes"], ["quarantine", "pump-2"], ["devices"])
    for command in (*commands[1:], ["quarantine", "pump-2", "--lift"]):
        assert fedge(folder, *command).exit_code == 0
    for path in (folder.root, *folder.root.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.chown(state, 0, 0)
    with as_nobody(folder.root):
        done = {command[0]: fedge(folder, *command) for command in commands}
    assert (done["forget"].exit_code, f"{state}/ledger.db: " in done["forget"].stderr) == (74, True)
    assert done["quarantine"].exit_code == done["devices"].exit_code == 0, "the ledger is not asked"
    os.chown(folder.registrar, 0, 0)
    with as_nobody(folder.root):
        done = {command[0]: fedge(folder, *command) for command in commands}
    for result in done.values():
        assert (result.exit_code, isinstance(result.exception, SystemExit)) == (74, True), result.exception
    assert f"{folder.register}: " in done["devices"].stderr
