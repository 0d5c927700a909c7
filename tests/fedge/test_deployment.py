"""Environments that take each other's place, units that travel with the wheel, and pauses that grow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedge.deployment import backoff, machine, units, variables
from fedge.deployment.changeover import change_over
from fedge.deployment.program import AGENT, SERVER, Program, requirement
from fedge.errors import DeploymentError, StateError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program("agent", "secure", ("fedge-agent",), tmp_path / "opt", tmp_path / "bin")


def environment(program: Program, number: int) -> Path:
    path = program.base / f"agent.{number}"
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "fedge-agent").touch()
    return path


def test_a_program_is_replaced_in_one_step_and_then_tidied(program: Program) -> None:
    first, second = environment(program, 1), environment(program, 2)
    program.switch(first)
    assert program.current == first
    program.switch(second)
    assert program.current == second
    assert (program.bin / "fedge-agent").resolve() == second / "bin" / "fedge-agent"
    program.tidy()
    assert program.all == [second]
    program.remove()
    assert not program.base.exists()
    assert list(program.bin.iterdir()) == []


@pytest.mark.parametrize("changed", [True, False])
def test_what_runs_is_started_anew_where_something_has_changed(program: Program, changed: bool) -> None:
    program.switch(environment(program, 1))
    done: list[bool | str] = []
    change_over(
        program, program.all[0], done.append, changed=changed, prepare=lambda: done.append("prepared")
    )
    assert done == ["prepared", changed]
    change_over(program, environment(program, 2), done.append, changed=changed)
    assert done[2:] == [True]


def test_a_program_that_does_not_start_gives_its_place_back(program: Program) -> None:
    old, new = environment(program, 1), environment(program, 2)
    started: list[Path | None] = []

    def start(_again: bool) -> None:
        started.append(program.current)
        if program.current == new:
            raise DeploymentError("it does not start")

    program.switch(old)
    with pytest.raises(DeploymentError, match="it does not start"):
        change_over(program, new, start, changed=False)
    assert started == [new, old]
    assert program.current == old


def test_what_stands_in_the_way_is_not_overwritten(program: Program) -> None:
    program.bin.mkdir()
    (program.bin / "fedge-agent").write_text("somebody else's")
    with pytest.raises(DeploymentError, match="is not a link made by Fedge"):
        program.switch(environment(program, 1))
    assert (program.bin / "fedge-agent").read_text() == "somebody else's"


def test_a_failed_step_leaves_the_old_program(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    old = environment(program, 1)
    program.switch(old)
    monkeypatch.setattr(Program, "make", lambda self, *_, **__: environment(self, 2))

    def fail() -> None:
        with program.next(None) as path:
            assert path == program.base / "agent.2"
            raise DeploymentError("it does not start")

    with pytest.raises(DeploymentError, match="it does not start"):
        fail()
    assert program.all == [old]
    assert program.current == old


@pytest.mark.deploy
def test_an_environment_that_cannot_be_filled_is_removed(program: Program, tmp_path: Path) -> None:
    (tmp_path / "broken.whl").write_bytes(b"no zip")
    wanted = requirement(tmp_path / "broken.whl", program.extra)
    with pytest.raises(DeploymentError, match=r"pip install .*: failed with exit code"):
        program.make(wanted)
    assert program.all == []


def test_an_environment_goes_on_with_itself(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    own = environment(program, 4)
    monkeypatch.setattr(sys, "prefix", str(own))
    with program.next(None) as path:
        assert path == own


def test_pip_is_asked_for_the_wheel_with_the_extra(tmp_path: Path) -> None:
    wheel = tmp_path / "fedge 1.whl"
    wheel.touch()
    assert requirement(wheel, "secure") == f"fedge[secure] @ file://{tmp_path}/fedge%201.whl"
    with pytest.raises(DeploymentError, match="no such file"):
        requirement(tmp_path / "other.whl", "secure")


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/systemd").rglob("*.*")), ids=lambda path: path.name)
def test_what_travels_is_found(path: Path) -> None:
    if path.is_file():
        assert units.shipped(str(path.relative_to(ROOT / "deploy"))) == path.read_bytes()


def test_what_does_not_travel_is_named() -> None:
    with pytest.raises(DeploymentError, match=r"lacks deploy/systemd/other\.service"):
        units.shipped("systemd/other.service")


def test_a_file_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "a.d" / "unit"
    assert units.place(path, b"one", 0o755)
    assert not units.place(path, b"one", 0o755)
    assert units.place(path, b"two", 0o755)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o755


def test_pauses_grow_to_five_minutes() -> None:
    assert [backoff.pause_s(n) for n in (0, 1, 2, 3, 6, 7, 1000)] == [0, 5, 10, 20, 160, 300, 300]


def test_failures_are_counted_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    file = tmp_path / "failures"
    for result, count in (("exit-code", 1), ("watchdog", 2), ("success", 0), ("signal", 1)):
        monkeypatch.setenv("SERVICE_RESULT", result)
        backoff.main(["count"])
        assert backoff.failures(file, file.stat().st_mtime if file.exists() else 0.0) == count
    slept: list[float] = []
    monkeypatch.setattr(backoff.time, "sleep", slept.append)
    backoff.main(["wait"])
    assert slept == [backoff.FIRST_S]
    assert backoff.failures(file, file.stat().st_mtime + backoff.FORGOTTEN_AFTER_S) == 0
    file.write_text("?")
    assert backoff.failures(file, file.stat().st_mtime) == 0


def test_services_can_read_what_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    before = os.umask(0o077)
    try:
        machine.require_root("fedge-agent install")
        machine.run(["sh", "-c", f"echo > {tmp_path}/file"])
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_program_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(DeploymentError, match=r"(?s)sh -c .*: failed with exit code 3\n  out of paper"):
        machine.run(["sh", "-c", "echo out of paper; exit 3"])
    with pytest.raises(DeploymentError, match="no-such-program"):
        machine.run(["no-such-program"])


def test_a_state_folder_that_is_closed_to_this_user_is_told_with_sudo(tmp_path: Path) -> None:
    config, state = tmp_path / "etc/lab/agent.toml", tmp_path / "states/lab"
    asked = (config, tmp_path / "etc", tmp_path / "states", {"STATE": ""})
    state.mkdir(parents=True)
    assert variables.of_service(*asked, {"STATE": ""}) == {"STATE": str(state)}
    state.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(StateError, match=r"states/lab: only root .* use sudo"):
            variables.of_service(*asked, {})
        assert variables.of_service(*asked, {"STATE": "mine"}) == {"STATE": "mine"}
    finally:
        os.seteuid(user)
        state.chmod(0o700)


@pytest.mark.parametrize("folder", ["agent", "aggregator"])
def test_out_of_the_wheel_only_installing_works(folder: str) -> None:
    """Without site packages, as on a new machine: nothing that Fedge depends on is there."""
    command = [sys.executable, "-I", "-S", str(ROOT / folder), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == os.EX_USAGE
    assert f"/{folder} install" in done.stderr


NOT_ROOT = """\
import os, runpy, sys
os.geteuid = lambda: 65534
sys.argv = [sys.argv[1], "install"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Whoever runs it: to another user, a clone in a closed home, and Python itself, may be out of reach."""


@pytest.mark.parametrize(("folder", "program"), [("agent", AGENT), ("aggregator", SERVER)])
def test_a_machine_that_has_only_python_is_told_of_root(folder: str, program: Program) -> None:
    command = [sys.executable, "-I", "-S", "-c", NOT_ROOT, str(ROOT / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == os.EX_UNAVAILABLE, done.stderr
    assert done.stderr.endswith("install changes the system: run it as root, with sudo\n")
    assert done.stderr.startswith(f"{program.commands[0]}: ")
