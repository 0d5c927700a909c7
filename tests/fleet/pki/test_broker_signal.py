"""The signal to the broker: to Mosquitto and to nobody else."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedge.errors import StateError
from fleet.pki import broker_signal
from fleet.pki.publication import Signalled, signal_broker

WAIT = """
import signal, sys, time
print(flush=True)
time.sleep({starting_s})
signal.signal(signal.SIGHUP, lambda *_: sys.exit(7))
while True:
    signal.pause()
"""


Waiting = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    """Starts a process that ends with 7 at the signal, once it has started; `name` is in its command line."""
    with ExitStack() as ends:

        def start(name: str, *, starting_s: float = 0.0) -> "subprocess.Popen[bytes]":
            command = [sys.executable, "-c", WAIT.format(starting_s=starting_s), name]
            process = ends.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            ends.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
            return process

        yield start


def test_mosquitto_is_signalled(tmp_path: Path, waiting: Waiting) -> None:
    (tmp_path / "pid").write_text(f"{(process := waiting('/usr/sbin/mosquitto')).pid}\n")
    assert signal_broker(tmp_path / "pid") is Signalled.YES
    assert process.wait(60) == 7


def test_mosquitto_is_not_ended_by_a_signal_while_it_starts(tmp_path: Path, waiting: Waiting) -> None:
    """Before it has set its handlers, SIGHUP means the end."""
    process = waiting("mosquitto", starting_s=0.3)
    (tmp_path / "pid").write_text(str(process.pid))
    assert signal_broker(tmp_path / "pid") is Signalled.YES
    assert process.wait(60) == 7


BUSY = """
import signal, sys
signal.signal(signal.SIGHUP, lambda *_: sys.exit(7))
print(flush=True)
while True:
    pass
"""

READING = """
import signal, sys, time
HUP = {signal.SIGHUP}
signal.signal(signal.SIGHUP, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, HUP)
print(flush=True)
for _ in range(3):
    signal.sigwait(HUP)
    until_s = time.monotonic() + 0.2
    while time.monotonic() < until_s:  # it reads
        pass
    signal.sigtimedwait(HUP, 0)  # and forgets what came meanwhile
sys.exit(7)
"""


def test_no_signal_comes_while_mosquitto_still_reads_for_the_one_before(tmp_path: Path) -> None:
    command = [sys.executable, "-c", READING, "mosquitto"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (tmp_path / "pid").write_text(str(process.pid))
        try:
            for _ in range(3):
                assert signal_broker(tmp_path / "pid") is Signalled.YES
            assert process.wait(60) == 7
        finally:
            process.kill()


@pytest.mark.parametrize(("members", "within_s"), [(0, 1.0), (20, 1.02), (10_000, 11.0)])
def test_a_broker_that_is_flooded_is_not_waited_for_as_one_that_reads_a_long_list(
    members: int, within_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never rests, and who floods it may be the one that is to be silenced."""
    now_s = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    monkeypatch.setattr(broker_signal, "time", SimpleNamespace(monotonic=lambda: now_s, sleep=sleep))
    with subprocess.Popen([sys.executable, "-c", BUSY, "mosquitto"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (tmp_path / "pid").write_text(str(process.pid))
        monkeypatch.setattr(broker_signal, "_rests", lambda _pid: False)
        try:
            assert signal_broker(tmp_path / "pid", members) is Signalled.YES
            assert now_s == pytest.approx(within_s, abs=0.01)
            assert process.wait(60) == 7
        finally:
            process.kill()


def test_a_process_that_has_mosquittos_old_number_is_left_alone(tmp_path: Path, waiting: Waiting) -> None:
    process = waiting("mosquitto.conf")
    (tmp_path / "pid").write_text(str(process.pid))
    assert signal_broker(tmp_path / "pid") is Signalled.NOT_RUNNING
    assert process.poll() is None
    process.kill()
    process.wait()
    assert signal_broker(tmp_path / "pid") is Signalled.NOT_RUNNING, "the process is gone"
    assert signal_broker(tmp_path / "nowhere") is Signalled.NOT_RUNNING


def test_who_may_not_signal_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waiting: Waiting
) -> None:
    def refuse(_pid: int, number: int) -> None:
        assert number == signal.SIGHUP
        raise PermissionError

    process = waiting("mosquitto")
    (tmp_path / "pid").write_text(str(process.pid))
    monkeypatch.setattr(os, "kill", refuse)
    assert signal_broker(tmp_path / "pid") is Signalled.NOT_ALLOWED
    monkeypatch.undo()


def test_a_file_that_is_no_process_id_is_named(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("not a number")
    with pytest.raises(StateError, match=re.escape(f"{tmp_path / 'pid'}: ")):
        signal_broker(tmp_path / "pid")
