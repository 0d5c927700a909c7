"""A forked program is what a started one is: its arguments, environment, folder, output, code and death."""

import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import forked
from tests.system.fleet_of_processes import is_stopped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are forked on Linux")

PROGRAM = """
import os, sys, signal, threading
print(sys.argv[1:], os.environ.get("WORD"), os.getcwd(), __name__, os.getsid(0) == os.getpid(), flush=True)
match sys.argv[1]:
    case "end": sys.exit(7)
    case "fail": raise ValueError("why")
    case "hashes": print(hash("a word"))
    case "files": print(sorted(os.listdir("/proc/self/fd")))
    case "flags": print(sys.flags.dev_mode)
    case "wait": signal.pause()
    case "again":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        print("ready", flush=True)
        signal.pause()
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with a `__main__`, and a library that it imports."""
    package = tmp_path / "told"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(textwrap.dedent(PROGRAM))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(forked.LOADED, "told", ())
    yield "told"
    forked.end_parents("told")


def run(program: str, log: Path, *arguments: str, life: int = 0, **variables: str) -> tuple[int, list[str]]:
    code = forked.start(program, arguments, log, life, variables).wait(120)
    return code, log.read_text().splitlines()


def test_it_has_its_own_arguments_variables_folder_and_session(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = f"['end', 'x'] a word {tmp_path} __main__ True"
    assert run(program, tmp_path / "log", "end", "x", WORD="a word") == (7, [said])
    monkeypatch.chdir(elsewhere := tmp_path / "told")
    second = said.replace("a word", "None").replace(str(tmp_path), str(elsewhere))
    assert run(program, tmp_path / "log", "end", "x")[1] == [said, second]


def test_an_error_ends_it_as_it_ends_any_program(program: str, tmp_path: Path) -> None:
    code, said = run(program, tmp_path / "log", "fail")
    assert (code, said[-1]) == (1, "ValueError: why")


def test_it_has_no_file_of_those_that_forked_it(program: str, tmp_path: Path) -> None:
    with (tmp_path / "held").open("w"):
        own = run(program, tmp_path / "log", "files")[1][-1]
    assert own == "['0', '1', '2', '3']"  # the last is the folder that is listed


def test_what_is_started_again_orders_sets_otherwise(program: str, tmp_path: Path) -> None:
    first, second, third = (run(program, tmp_path / f"log-{n}", "hashes", life=n)[1][-1] for n in range(3))
    assert first == third != second


def test_signals_reach_it_and_its_end_is_told(program: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    waiting = forked.start(program, ["again"], log, 0, {})
    while not (log.exists() and "ready" in log.read_text()):
        assert waiting.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.01)
    waiting.send_signal(signal.SIGSTOP)
    while not all(map(is_stopped, Path(f"/proc/{waiting.pid}/task").iterdir())):
        assert waiting.poll() is None
    waiting.send_signal(signal.SIGCONT)
    waiting.terminate()
    assert waiting.wait(120) == 3
    killed = forked.start(program, ["wait"], log, 0, {})
    killed.kill()
    assert (killed.wait(120), killed.poll()) == (-signal.SIGKILL, -signal.SIGKILL)
    killed.kill()  # who is dead is not killed again, nor is another process of this number


def test_it_dies_with_those_that_forked_it(program: str, tmp_path: Path) -> None:
    orphan = forked.start(program, ["wait"], tmp_path / "log", 0, {})
    handle = os.pidfd_open(orphan.pid)
    forked.end_parents(program)
    assert select.select([handle], [], [], 120)[0] == [handle]
    os.close(handle)
    with pytest.raises(AssertionError, match="is gone"):
        orphan.wait(120)


def test_variables_that_only_the_interpreter_reads_hold_too(program: str, tmp_path: Path) -> None:
    first, second = (
        run(program, tmp_path / f"log-{mode}", "flags", PYTHONDEVMODE=mode)[1][-1] for mode in ("", "1")
    )
    assert (first, second) == ("False", "True")


@pytest.mark.parametrize(
    ("module", "choice", "can"), [("agent", "", True), ("agent", "0", False), ("fleet", "", False)]
)
def test_what_is_forked(module: str, choice: str, can: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDGE_TEST_FORK", choice)
    assert forked.can_start(module) is can
