"""Ctrl-C at many moments of each program: one sentence, exit code 130, and never a traceback.

A moment is not a time: Python tells an audit hook of each import, each opened file and the like, and the
program gets its SIGINT when so many of these have come. They count from the moment that the program itself
can do something about it; what Python does before is not ours.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from fedge.service import interrupts

AT_MOMENT = """
import os, runpy, signal, sys
from pathlib import Path
program, moment, counted = sys.argv[1], int(sys.argv[2]), sys.argv[3]
sys.argv[:4] = [program]
default, seen = signal.getsignal(signal.SIGINT), 0
assert default is signal.default_int_handler
def hook(event, arguments):
    global seen
    if seen or signal.getsignal(signal.SIGINT) is not default:
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
try:
    runpy.run_module(program, run_name="__main__", alter_sys=True)
finally:
    total, seen = seen, 10**9
    if counted != "-":
        Path(counted).write_text(str(total))
"""
FEDERATION = """\
[federation]
name = "farm"
[broker]
url = "mqtt://127.0.0.1:1"
[model]
features = ["heat", "rain"]
classes = ["dry", "wet"]
"""
AGENT = """\
federation = "farm"
device = "pi-1"
[broker]
url = "mqtt://127.0.0.1:1"
[data]
source = "csv"
path = "data.csv"
label = "weather"
"""
COMMANDS = [
    ("agent", "--check"),
    ("agent", "predict", "data.csv"),
    ("agent", "join", "no.fedge"),
    ("agent", "renew"),
    ("aggregator", "--check"),
    ("aggregator", "backup", "farm.backup"),
    ("aggregator", "restore", "farm.backup"),
    ("fleet", "--version"),
    ("fleet", "init", "meadow"),
    ("fleet", "enroll", "pi-1", "--folder", "farm"),
    ("fleet", "registrar", "--folder", "nowhere"),
    ("fleet", "replay", "1"),
    ("fleet", "world", "--seeds", "0:2", "--devices", "2", "--rounds", "1"),
    ("fleet", "demo", "--devices", "0"),
]
QUICK = [COMMANDS[0], COMMANDS[5], COMMANDS[8]]
"""One of each program; the others are run with the chaos."""
SERVING = [("agent",), ("aggregator",)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "federation.toml").write_text(FEDERATION)
    (tmp_path / "agent.toml").write_text(AGENT)
    (tmp_path / "data.csv").write_text("heat,rain,weather\n1,2,dry\n3,4,wet\n" * 10)
    return tmp_path


def run(
    command: tuple[str, ...], place: Path, moment: int, counted: str = "-"
) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    return subprocess.run(
        [sys.executable, "-c", AT_MOMENT, program, str(moment), counted, *arguments],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
    )


def interrupt(command: tuple[str, ...], place: Path, moments: int, codes: set[int]) -> None:
    """Count the moments of a whole run, or of one that is ended when it serves, and send SIGINT at some."""
    counted = place / "counted"
    if command in SERVING:
        total = 3_000
    else:
        whole = run(command, place, -1, str(counted))
        assert "Traceback" not in whole.stderr
        total = int(counted.read_text())
    assert total > moments
    for number in range(moments):
        moment = 1 + number * (total - 1) // moments
        ended = run(command, place, moment)
        where = f"moment {moment} of {total}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        assert "Traceback" not in ended.stderr, where
        assert "Exception ignored" not in ended.stderr, where
        assert ended.returncode in codes, where
        if ended.returncode == interrupts.CODE:
            said = [line for line in ended.stderr.splitlines() if "stopped" in line or "Aborted" in line]
            assert len(said) == 1, where


@pytest.mark.slow
@pytest.mark.parametrize("command", QUICK, ids=" ".join)
def test_ctrl_c_ends_a_command_with_130_and_a_sentence(command: tuple[str, ...], place: Path) -> None:
    interrupt(command, place, 3, {interrupts.CODE})


@pytest.mark.parametrize("command", SERVING, ids=" ".join)
def test_ctrl_c_ends_what_serves_with_0_and_what_is_not_yet_at_it_with_130(
    command: tuple[str, ...], place: Path
) -> None:
    interrupt(command, place, 3, {0, interrupts.CODE})


@pytest.mark.chaos
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_ctrl_c_at_any_moment_of_a_command(command: tuple[str, ...], place: Path) -> None:
    interrupt(command, place, 20, {interrupts.CODE})


@pytest.mark.chaos
@pytest.mark.parametrize("command", SERVING, ids=" ".join)
def test_ctrl_c_at_any_moment_of_what_serves(command: tuple[str, ...], place: Path) -> None:
    interrupt(command, place, 20, {0, interrupts.CODE})


@pytest.mark.slow
def test_a_second_one_ends_a_module_that_never_gets_imported(place: Path) -> None:
    """As the module of a `python` source does that waits for its sensor."""
    (place / "sensor.py").write_text(
        "import time\nprint('waits', flush=True)\nwhile True:\n    time.sleep(0.01)\n"
    )
    settings = AGENT.partition("source")[0] + 'source = "python"\ncallable = "sensor:read"\n'
    (place / "agent.toml").write_text(settings)
    with subprocess.Popen(
        [sys.executable, "-m", "agent", "--check"],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as program:
        assert program.stdout is not None
        try:
            while program.stdout.readline().strip() != "waits":
                assert program.poll() is None
            for _ in range(100):  # two that come at once are one
                program.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    program.wait(1)
                    break
            _, said = program.communicate(timeout=60)
        finally:
            program.kill()
    assert program.returncode == interrupts.CODE
    assert said.splitlines()[-1:] == ["stopped"]


def test_who_ignores_it_hands_that_on() -> None:
    """As `nohup`, or a script that runs it in the background, wants it."""
    program = (
        "import signal; from fedge.service import interrupts; "
        "interrupts.prepare(); print(signal.getsignal(2))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert told.stdout == "1\n", "SIG_IGN"


def test_an_error_that_a_library_makes_of_an_interrupt_is_one(capfd: pytest.CaptureFixture[str]) -> None:
    """As pydantic does while it builds a class that is used for the first time."""

    def work() -> int:
        raise ValueError("Error building `literal` serializer:\n  SchemaError: KeyboardInterrupt: ")

    assert interrupts.run("fedge-agent", work) == interrupts.CODE
    assert capfd.readouterr().err == "fedge-agent: stopped\n"
    with pytest.raises(ValueError, match="no KeyboardInterrupt here"):
        interrupts.run("fedge-agent", lambda: _refuses("no KeyboardInterrupt here"))


def _refuses(why: str) -> int:
    raise ValueError(why)
