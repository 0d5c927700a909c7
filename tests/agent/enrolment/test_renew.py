"""Renewing with a registrar that is played here: when it is due, and what a crash leaves at every step."""

import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.config import AgentSettings
from agent.enrolment import renew as renewing
from agent.enrolment.certificates import Present
from agent.enrolment.renew import Renewed, renew
from fedge.errors import ConfigError, StateError, Unanswered
from fedge.identity.provisioning import Enrol, Renew
from fleet.pki.authority import Authority
from fleet.pki.keys import make_key, public_key
from fleet.pki.requests import read_request
from tests.agent.enrolment.powercuts import Crash, crash_at
from tests.wording import telling

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = 90


class Registrar:
    """It signs whatever it is asked, and the same request with the same certificate."""

    def __init__(self) -> None:
        self.authority = Authority.found("authority", make_key(), 4000, NOW)
        self.given: dict[bytes, bytes] = {}
        self.name = "greenhouse_pi-1"
        self.asked: list[bytes] = []

    def first(self) -> bytes:
        key = make_key()
        return key + self.authority.issue_client(self.name, public_key(key), DAYS, NOW).pem

    def answer(
        self, _broker: object, _topics: object, _who: str, request: Enrol | Renew, _wait: float
    ) -> bytes:
        self.asked.append(request.csr)
        if request.csr not in self.given:
            key = read_request(request.csr).key
            self.given[request.csr] = self.authority.issue_client(self.name, key, DAYS, NOW).pem
        return self.given[request.csr]


@pytest.fixture
def registrar(monkeypatch: pytest.MonkeyPatch) -> Registrar:
    made = Registrar()
    monkeypatch.setattr(renewing, "ask", made.answer)
    return made


@pytest.fixture
def home(registrar: Registrar, tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "identity.pem").write_bytes(registrar.first())
    (folder / "identity.pem").chmod(0o600)
    (folder / "ca.pem").write_bytes(registrar.authority.pem)
    (folder / "renewal.password").write_text("secret\n")
    (folder / "agent.toml").write_text(
        'federation = "greenhouse"\ndevice = "pi-1"\n'
        '[broker]\nurl = "mqtts://broker.example:8883"\nca = "ca.pem"\n'
        'certificate = "identity.pem"\nkey = "identity.pem"\n'
        '[data]\nsource = "csv"\npath = "data.csv"\n'
    )
    return folder


def run(home: Path, now: datetime = NOW, **options: Any) -> Renewed:
    return renew(AgentSettings.load(home / "agent.toml", {}), now, **options)


def test_it_is_due_when_less_than_a_third_of_the_life_is_left(home: Path, registrar: Registrar) -> None:
    """The life is 91 days: certificates begin a day early. A third of it is 30 days and 8 hours."""
    due = NOW + timedelta(days=DAYS) - timedelta(days=30, hours=8)
    assert not run(home, due).done
    assert not registrar.asked
    assert run(home, due + timedelta(seconds=1)).done
    assert len(registrar.asked) == 1


def test_days_and_force_say_otherwise(home: Path) -> None:
    assert not run(home, before=timedelta(days=DAYS)).done
    assert run(home, before=timedelta(days=DAYS + 1)).done
    assert run(home, force=True).done


def test_what_is_there_afterwards(home: Path) -> None:
    before = Present.read(home / "identity.pem")
    assert run(home, force=True).done
    after = Present.read(home / "identity.pem")
    assert after.key.public_key() != before.key.public_key()
    assert (home / "identity.pem").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in home.iterdir()} == {
        "agent.toml",
        "ca.pem",
        "identity.pem",
        "renewal.password",
    }


def test_a_crash_anywhere_leaves_the_old_identity_or_the_new_and_the_next_run_ends_it(
    home: Path, registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, kept = (home / "identity.pem").read_bytes(), home.with_name("kept")
    shutil.copytree(home, kept)
    outcomes = []
    for step in range(1000):
        registrar.given, registrar.asked = {}, []
        with crash_at(step, renewing, monkeypatch) as done:
            crashed = True
            with suppress(Crash):
                run(home, force=True)
                crashed = False
        found = (home / "identity.pem").read_bytes()
        Present.read(home / "identity.pem")  # whole: a key, and the certificate for it
        outcomes.append("old" if found == old else "new")
        if not crashed:
            break
        assert run(home, force=True).done
        assert Present.read(home / "identity.pem").der != Present.read(kept / "identity.pem").der
        assert not (home / "renewing").exists()
        if outcomes[-1] == "old":  # else it was forced to begin another
            assert len(set(registrar.asked)) == 1, "one request, however often it was begun"
        shutil.rmtree(home)
        shutil.copytree(kept, home)
    assert not crashed
    assert {"ask", "rename", "fsync", "rmtree"} <= set(done)
    assert outcomes == sorted(outcomes, reverse=True), "first the old, then the new"
    assert outcomes[0] == "old"
    assert outcomes.count("new") > 1
    print(f"crashed at each of {len(outcomes) - 1} steps")


def test_a_certificate_of_another_authority_replaces_nothing(home: Path, registrar: Registrar) -> None:
    before = (home / "identity.pem").read_bytes()
    registrar.authority = Authority.found("authority", make_key(), 4000, NOW)
    with pytest.raises(ConfigError, match=telling("authority")):
        run(home, force=True)
    assert (home / "identity.pem").read_bytes() == before


def test_a_certificate_of_somebody_else_replaces_nothing(home: Path, registrar: Registrar) -> None:
    before = (home / "identity.pem").read_bytes()
    registrar.name = "greenhouse_pi-2"
    with pytest.raises(ConfigError, match=telling("'greenhouse_pi-2'", "'greenhouse_pi-1'")):
        run(home, force=True)
    assert (home / "identity.pem").read_bytes() == before


def test_an_answer_that_does_not_come_leaves_the_request_for_the_next_time(
    home: Path, registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silence(*arguments: Any) -> bytes:
        registrar.answer(*arguments)
        raise Unanswered("nobody")

    with monkeypatch.context() as patched:
        patched.setattr(renewing, "ask", silence)
        for _ in range(2):
            with pytest.raises(Unanswered):
                run(home, force=True)
    assert run(home, force=True).done
    assert len(registrar.asked) == 3
    assert len(set(registrar.asked)) == 1


def test_what_cannot_be_renewed_is_said(home: Path) -> None:
    text = (home / "agent.toml").read_text()
    (home / "agent.toml").write_text(text.replace('certificate = "identity.pem"', 'certificate = "ca.pem"'))
    with pytest.raises(ConfigError, match=telling("[broker] certificate", "key", "two files")):
        run(home, force=True)
    (home / "agent.toml").write_text(
        text.replace('ca = "ca.pem"\ncertificate = "identity.pem"\nkey = "identity.pem"\n', "")
    )
    with pytest.raises(ConfigError, match=telling("[broker] certificate", "ca")):
        run(home, force=True)
    (home / "agent.toml").write_text(text)
    (home / "identity.pem").write_text("nonsense")
    with pytest.raises(ConfigError, match=telling("identity.pem: ", "private key", "certificate")):
        run(home, force=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes others' files")
def test_root_leaves_the_identity_to_whose_it_was(home: Path) -> None:
    os.chown(home / "identity.pem", 1234, 1235)
    assert run(home, force=True).done
    status = (home / "identity.pem").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1234, 1235, 0o600)


def test_one_renewal_at_a_time(home: Path) -> None:
    from agent.enrolment.pending import pending
    from fedge.errors import Conflict

    with pending(home / "renewing"), pytest.raises(Conflict):
        run(home, force=True)


def test_a_folder_that_cannot_be_written_keeps_what_it_has(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (home / "identity.pem").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise StateError("the disk is full")

    monkeypatch.setattr(renewing, "atomic_write", full)
    with pytest.raises(StateError):
        run(home, force=True)
    assert (home / "identity.pem").read_bytes() == before
