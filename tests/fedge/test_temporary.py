"""A temporary folder is removed after its block, whenever a signal comes, and SIGTERM still ends the program.

A moment is not a time: Python tells an audit hook of each file and folder that is made, opened or removed,
and the program gets its signal at one of these.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedge.service.termination import uninterrupted
from fedge.storage.temporary import temporary_folder

PROGRAM = """
import os, signal, sys
from pathlib import Path
from fedge.storage.temporary import temporary_folder
parent, number, moment = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
seen, watched = 0, False
def hook(event, arguments):
    global seen
    if watched and seen < moment:
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), number)
sys.addaudithook(hook)
try:
    watched = True
    with temporary_folder("held-", parent) as folder:
        (folder / "file").write_text("")
        (folder / "inner").mkdir()
    watched = False
except KeyboardInterrupt:
    sys.exit(99)
sys.exit(3 if seen < moment else 0)
"""
MOST = 100


def end_at(parent: Path, number: int, moment: int) -> int:
    program = [sys.executable, "-c", PROGRAM, str(parent), str(int(number)), str(moment)]
    return subprocess.run(program, check=False, timeout=300).returncode


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 99)], ids=["SIGTERM", "SIGINT"]
)
def test_nothing_is_left_behind_whenever_a_signal_comes(number: int, code: int, tmp_path: Path) -> None:
    for moment in range(1, MOST):
        ended = end_at(tmp_path, number, moment)
        assert list(tmp_path.iterdir()) == [], f"moment {moment}"
        if ended == 3:
            break
        assert ended == code, f"moment {moment}"
    assert 5 < moment < MOST - 1, "folders and files were made and removed"


def test_a_handler_of_the_program_itself_stays(tmp_path: Path) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        with temporary_folder("held-", tmp_path):
            signal.raise_signal(signal.SIGTERM)
            assert seen == [signal.SIGTERM]
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM] * 2
    assert list(tmp_path.iterdir()) == []


def test_an_error_passes_through(tmp_path: Path) -> None:
    def fail() -> None:
        with temporary_folder("held-", tmp_path) as folder:
            (folder / "file").write_text("")
            raise ValueError("seven")

    with pytest.raises(ValueError, match="seven"):
        fail()
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


ANOTHER_ERROR = """
import signal
from fedge.service.termination import terminable
try:
    with terminable():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise ValueError("seven")
except ValueError:
    pass
"""

BOTH = """
import signal
from fedge.service.termination import uninterrupted
try:
    with uninterrupted():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
except KeyboardInterrupt:
    pass
"""


@pytest.mark.parametrize(
    "program", [ANOTHER_ERROR, BOTH], ids=["another error on the way out", "both signals"]
)
def test_sigterm_ends_a_program_that_catches_something_else(program: str) -> None:
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGTERM


def test_a_handler_that_raises_while_signals_are_held_leaves_none_changed() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
