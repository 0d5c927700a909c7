"""One process at a time tells the broker, for all that wait."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from fedge.errors import Conflict
from fleet.cli.commands import app
from fleet.pki import publication
from fleet.pki import turn as turns
from fleet.pki.enrolment import enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.publication import Signalled, publish
from fleet.pki.register import Register
from fleet.pki.revocation import revoke
from fleet.pki.turn import Moment, turn
from tests.wording import assert_tells

WAIT_S = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    folder = FederationFolder(tmp_path / "greenhouse")
    found(folder, Founding("greenhouse", ["broker.example"]))
    return folder


def test_what_was_durable_before_a_publication_began_is_in_it(tmp_path: Path) -> None:
    before, began, after = Moment("boot", 1), Moment("boot", 2), Moment("boot", 3)
    with turn(tmp_path / "publishing") as ours:
        assert ours.serves(before) is None, "nothing was ever published"
        ours.note(began, Signalled.YES)
    with turn(tmp_path / "publishing") as ours:
        assert ours.serves(before) is Signalled.YES
        assert ours.serves(began) is None, "it may have been read just before"
        assert ours.serves(after) is None


@pytest.mark.parametrize("clock", ["another boot", ""])
def test_another_clocks_count_says_nothing(tmp_path: Path, clock: str) -> None:
    with turn(tmp_path / "publishing") as ours:
        ours.note(Moment("boot", 10**18), Signalled.YES)
        assert ours.serves(Moment(clock, 1)) is None


def test_who_may_signal_does_not_rely_on_one_who_may_not(tmp_path: Path) -> None:
    with turn(tmp_path / "publishing") as ours:
        ours.note(Moment("boot", 2), Signalled.NOT_ALLOWED)
        assert ours.serves(Moment("boot", 1)) is None


@pytest.mark.parametrize("said", [b"", b"{", b"[]", b'{"clock": "boot"}', b"\0" * 100, b"\xff" * 2_000])
def test_a_note_that_was_cut_off_says_nothing(tmp_path: Path, said: bytes) -> None:
    (tmp_path / "publishing").write_bytes(said)
    with turn(tmp_path / "publishing") as ours:
        assert ours.serves(Moment("boot", 1)) is None
        ours.note(Moment("boot", 2), Signalled.YES)
        assert ours.serves(Moment("boot", 1)) is Signalled.YES


def test_moments_of_this_machine_are_ordered() -> None:
    first, second = Moment.now(), Moment.now()
    assert first.clock == second.clock
    assert first.is_before(second) or first == second
    assert not second.is_before(first)


def test_a_turn_is_waited_for_so_long_and_no_longer(tmp_path: Path) -> None:
    with (
        turn(tmp_path / "publishing"),
        pytest.raises(Conflict) as refused,
        turn(tmp_path / "publishing", 0.1),
    ):
        pass
    assert_tells(str(refused.value), str(tmp_path / "publishing"), "register", "broker")
    with turn(tmp_path / "publishing", 0.0):
        pass


def test_who_has_to_give_way_is_told_what_is_done_and_what_is_to_do(
    folder: FederationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    enroll(folder, "old")
    monkeypatch.setattr(publication, "turn", lambda path: turn(path, 0.0))
    tells = f"`fedge init greenhouse --folder {folder.root}`"
    with turn(folder.publishing):
        for names, done in (
            (["pi-1"], f"greenhouse_pi-1 .*{folder.bundle('pi-1')}"),
            (["pi-1"], "greenhouse_pi-1 .*already"),
            (["pi-2", "pi-3"], f"2 devices .*{folder.devices}"),
        ):
            result = fedge(folder, "enroll", *names)
            assert result.exit_code == Conflict.exit_code
            assert re.search(done, result.stderr)
            assert tells in result.stderr
            assert "run it again" not in result.stderr
        result = fedge(folder, "revoke", "old")
        assert result.exit_code == Conflict.exit_code
        assert_tells(result.stderr, "greenhouse_old ", "register", "again")
    assert "greenhouse_pi-1" not in folder.acl.read_text()
    assert CliRunner().invoke(app, ["init", "greenhouse", "--folder", str(folder.root)]).exit_code == 0
    told = folder.acl.read_text()
    assert all(f"user greenhouse_pi-{number}\n" in told for number in (1, 2, 3))
    result = fedge(folder, "enroll", "pi-1")
    assert result.exit_code == 78
    assert_tells(result.stderr, "again: ", "broker does not run")


def fedge(folder: FederationFolder, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--folder", str(folder.root)])


class Telling:
    """Counts publications, and holds the first until it is let go."""

    def __init__(self, original: Callable[..., Signalled]) -> None:
        self.begun, self.go, self.count = threading.Event(), threading.Event(), 0
        self._original = original

    def __call__(self, *arguments: object) -> Signalled:
        self.count += 1
        self.begun.set()
        assert self.go.wait(WAIT_S)
        return self._original(*arguments)


def test_of_many_that_come_at_once_two_publish(
    folder: FederationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first began before the changes of the others; the second serves all of them."""
    telling = Telling(publication._tell)
    monkeypatch.setattr(publication, "_tell", telling)
    waiting = threading.Barrier(8)

    def enrol(number: int) -> Signalled:
        if number == 0:
            return enroll(folder, "pi-0").signalled
        assert telling.begun.wait(WAIT_S)
        return enroll(folder, f"pi-{number}").signalled

    def release() -> None:
        with Register(folder.register) as register:
            pause = threading.Event()
            while len([each for each in register.members() if each.identity.device]) < 8:
                pause.wait(0.01)
        waiting.wait(WAIT_S)
        telling.go.set()

    original = turns.Moment.now

    def changed() -> Moment:
        """Who comes to publish says so before the first is let go."""
        moment = original()
        if not telling.go.is_set():
            waiting.wait(WAIT_S) if telling.begun.is_set() else None
        return moment

    monkeypatch.setattr(publication.Moment, "now", staticmethod(changed))
    with ThreadPoolExecutor(9) as pool:
        releasing = pool.submit(release)
        told = list(pool.map(enrol, range(8)))
        releasing.result(WAIT_S)
    assert told == [Signalled.NOT_RUNNING] * 8
    assert telling.count == 2
    assert all(f"user greenhouse_pi-{number}\n" in folder.acl.read_text() for number in range(8))


def test_nothing_waits_inside_a_transaction(
    folder: FederationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever takes time, another process can write meanwhile."""
    enroll(folder, "pi-1")
    seen: list[str] = []

    def is_free(what: str) -> None:
        with Register(folder.register) as other:
            other.run("PRAGMA busy_timeout=0")
            with other.transaction():
                seen.append(what)

    def signal(_pid_file: Path, _members: int) -> Signalled:
        is_free("signal")
        return Signalled.NOT_RUNNING

    for module, name in (
        ("fleet.pki.new_device", "make_key"),
        ("fleet.pki.staged_bundles", "move_out"),
        ("fleet.pki.publication", "atomic_write"),
    ):
        original = getattr(__import__(module, fromlist=[name]), name)

        def watched(
            *arguments: object,
            _name: str = name,
            _original: Callable[..., object] = original,
            **named: object,
        ) -> object:
            is_free(_name)
            return _original(*arguments, **named)

        monkeypatch.setattr(f"{module}.{name}", watched)
    monkeypatch.setattr(publication, "signal_broker", signal)
    enroll(folder, "pi-2")
    assert set(seen) == {"make_key", "move_out", "atomic_write", "signal"}
    seen.clear()
    revoke(folder, "pi-1")
    assert set(seen) == {"atomic_write", "signal"}


def test_a_publication_after_a_crash_is_made_again(
    folder: FederationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed is not noted as told."""
    with Register(folder.register) as register:
        changed = Moment.now()
        monkeypatch.setattr(publication, "_tell", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            publish(folder, register)
        with turn(folder.publishing) as ours:
            assert ours.serves(changed) is None
