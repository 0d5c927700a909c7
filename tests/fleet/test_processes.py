"""Children write a log, are stopped, and never outlive their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleet.demo.processes import Program, spawn, stop


def python(code: str, folder: Path, name: str = "child") -> Program:
    return spawn(name, [sys.executable, "-c", code], folder / f"{name}.log")


def until(condition: object, limit_s: float = 60.0) -> bool:
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.01)
    return False


def alive(pid: int) -> bool:
    try:
        # A killed orphan stays visible as a zombie until its new parent waits for it.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_has_one_blas_thread_its_own_session_and_a_log(tmp_path: Path) -> None:
    code = "import os; print(os.environ['OPENBLAS_NUM_THREADS'], os.getsid(0) == os.getpid(), flush=True)"
    child = python(code, tmp_path)
    assert child.process.wait(60) == 0
    assert child.log.read_text() == "1 True\n"


def test_a_child_finds_our_packages_and_not_those_where_the_caller_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "__init__.py").write_text("")
    ours = Path("agent").resolve()
    monkeypatch.chdir(tmp_path)
    child = spawn("child", [sys.executable, "-m", "inspect", "agent", "--details"], tmp_path / "log")
    child.process.wait(60)
    assert str(ours) in child.log.read_text()


def test_the_error_of_a_dead_child_names_it_and_shows_its_last_lines(tmp_path: Path) -> None:
    child = python("for i in range(100): print('line', i)\nraise SystemExit(3)", tmp_path, "agent x")
    error = str(child.died())
    assert error.startswith("agent x ended with exit code 3;")
    assert str(child.log) in error
    assert "line 99" in error
    assert "line 91" not in error


def test_a_killed_child_is_told_by_its_signal(tmp_path: Path) -> None:
    child = python("import time; time.sleep(60)", tmp_path)
    child.process.send_signal(signal.SIGKILL)
    assert "SIGKILL" in str(child.died())


@pytest.mark.parametrize("stubborn", [False, True])
def test_stop_ends_even_those_that_ignore_sigterm(tmp_path: Path, stubborn: bool) -> None:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if stubborn else ""
    child = python(f"import signal, time; {ignore}print('up', flush=True); time.sleep(60)", tmp_path)
    assert until(lambda: "up" in child.log.read_text())
    stop([child], patience_s=0.2)
    assert child.exit_code == (-signal.SIGKILL if stubborn else -signal.SIGTERM)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_children_die_with_their_parent_even_when_it_is_killed(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from fleet.demo.processes import spawn
child = spawn("child", [sys.executable, "-c", "import time; time.sleep(60)"], Path({str(tmp_path)!r}) / "log")
print(child.process.pid, flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        try:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            # Until the small program in front has become the real one, it may not be bound yet.
            assert until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:2] == [b"-c"])
        finally:
            parent.kill()
    assert until(lambda: not alive(pid))
