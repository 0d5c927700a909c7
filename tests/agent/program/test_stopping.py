"""How the device's program stops, and what it has kept when it is started again."""

import os
import queue
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.shell import model_file
from fedge.algorithms.plan import Plan
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason
from fleet.demo.broker import Broker
from tests import milestones
from tests.agent.program.programs import PATIENCE_S, ROOT, Aggregator, configure, needs_mosquitto, task
from tests.wording import assert_tells

# ── with a broker ──────────────────────────────────────────────────────────────────────────────────


class Agent:
    """The real program, and what it says."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self._lines.put(line)

    def says(self, what: str) -> str:
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            line = self._lines.get(timeout=max(0.01, deadline_s - time.monotonic()))
            self.said.append(line)
            if what in line:
                return line

    def ends_within(self, seconds: float) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Agent]]:
    started: list[Agent] = []

    def new() -> Agent:
        started.append(Agent(tmp_path))
        return started[-1]

    yield new
    for agent in started:
        agent.process.kill()
        agent.process.wait()


@pytest.mark.system
@needs_mosquitto
def test_fault_24_sigterm_in_mid_training(
    broker: Broker, aggregator: Aggregator, start: Callable[[], Agent], tmp_path: Path
) -> None:
    configure(tmp_path, broker.url)
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "data.npz", X=rng.normal(size=(60_000, 2)), y=np.arange(60_000) % 2)
    agent = start()
    aggregator.announce(task(units=1_200), plan=Plan(epochs=1_000, batch_size=0))
    agent.says(milestones.begins("train"))
    time.sleep(0.3)  # in the middle of one step
    assert agent.ends_within(15.0) == 0
    agent.says(milestones.STOPPED)
    assert aggregator.hears_status(lambda status: not status.online).boot
    assert not any("Traceback" in line for line in agent.said)


@pytest.mark.system
@needs_mosquitto
def test_fault_35_an_update_that_cannot_be_saved_is_never_published(
    broker: Broker, aggregator: Aggregator, start: Callable[[], Agent], tmp_path: Path
) -> None:
    configure(tmp_path, broker.url)
    agent = start()
    aggregator.hears_status(lambda status: status.online)
    _, hard = resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (10_000, hard))  # its disk is full
    aggregator.announce(task(units=100))
    heard = aggregator.hears()
    assert isinstance(heard, Status), "not an update"
    assert heard.declined is not None
    assert heard.declined.reason == Reason.FAILED
    assert_tells(heard.declined.detail, "disk")
    agent.says("agent.db")

    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (hard, hard))  # there is room again
    aggregator.announce(task(units=100), attempt=1)
    update = aggregator.hears_update()
    assert (update.round, update.device, update.samples) == (1, "pi-1", 48)
    aggregator.answer(update)
    agent.says(milestones.COUNTS)
    assert (tmp_path / "state" / model_file.FILE).exists(), "the model is kept as well"

    # What is answered stays answered over a restart, in which nothing is trained again.
    assert agent.ends_within(PATIENCE_S) == 0
    again = start()
    aggregator.hears_status(lambda status: status.online and status.round == 1)
    assert again.ends_within(PATIENCE_S) == 0
    again.says(milestones.STOPPED)
    assert not any(milestones.begins("") in line for line in again.said)


@pytest.mark.system
@needs_mosquitto
def test_fault_25_a_saved_update_is_reported_after_a_sigkill(
    broker: Broker, aggregator: Aggregator, start: Callable[[], Agent], tmp_path: Path
) -> None:
    configure(tmp_path, broker.url)
    agent = start()
    aggregator.announce(task(units=200))  # two frames
    first = aggregator.hears_update()
    agent.process.kill()
    agent.process.wait()
    again = start()
    assert aggregator.hears_update() == first, "the same bytes, and not trained again"
    aggregator.answer(first)
    again.says(milestones.COUNTS)
    assert again.ends_within(PATIENCE_S) == 0


@pytest.mark.system
def test_sigterm_while_no_broker_answers(start: Callable[[], Agent], tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # accepts, and never says a word
        configure(tmp_path, f"mqtt://127.0.0.1:{silent.getsockname()[1]}")
        agent = start()
        silent.settimeout(PATIENCE_S)
        peer, _ = silent.accept()
        with peer:
            assert agent.ends_within(15.0) == 0


@pytest.mark.system
def test_sigterm_while_there_is_no_broker(start: Callable[[], Agent], tmp_path: Path) -> None:
    configure(tmp_path, "mqtt://127.0.0.1:1")
    agent = start()
    agent.says(milestones.NOT_CONNECTED)
    assert agent.ends_within(15.0) == 0
