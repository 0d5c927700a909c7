"""When the device's program leaves for a while, and how it returns."""

import threading
from pathlib import Path

import pytest

from agent.config import AgentSettings
from agent.shell.loop import Loop
from agent.shell.measured_conditions import ROOT_VARIABLE
from agent.shell.memory_layout import FILE
from agent.shell.memory_views import read_moved
from agent.shell.traffic import PARTS
from fedge.transport import Publication
from fedge.wire.messages.message import pack
from fedge.wire.reasons import Reason
from fleet.demo.broker import Broker
from tests.agent.program.programs import PATIENCE_S, Aggregator, configure, needs_mosquitto, task


@pytest.mark.system
@needs_mosquitto
def test_fault_10_a_device_that_meets_its_clone_leaves_and_returns(
    broker: Broker, aggregator: Aggregator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.core.lifecycle.link.CLONE_PAUSE_S", 0.2)
    loop = Loop(AgentSettings.load(configure(tmp_path, broker.url), {}))
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        own = aggregator.hears_status(lambda status: status.online)
        clone = own.model_copy(update={"boot": b"c" * 16})
        topic = aggregator.topics.status("pi-1")
        aggregator.client.send(Publication(topic, pack(clone), retain=True))
        # The clone's word was retained, so it leaves once more; its own is the last one then.
        returned: set[int] = set()
        while not returned >= {2, 3}:
            back = aggregator.hears_status(lambda status: status.online and status.boot == own.boot)
            returned.add(back.connection)
    finally:
        loop.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert not aggregator.hears_status(lambda status: not status.online).online


@pytest.mark.system
@needs_mosquitto
def test_a_busy_device_joins_the_round_that_is_still_open_when_it_is_calm(
    broker: Broker, aggregator: Aggregator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.core.lifecycle.conditions.MEASURE_AGAIN_S", 0.1)
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    (tmp_path / "proc").mkdir()
    load = tmp_path / "proc/loadavg"
    load.write_text("640.0 1 1 1/1 1")
    config = configure(tmp_path, broker.url)
    config.write_text(
        f"{config.read_text()}\n[conditions]\nload = 0.5\n[limits]\nbytes_per_day = 64_000_000\n"
    )
    aggregator.announce(task())
    loop = Loop(AgentSettings.load(config, {}))
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        declined = aggregator.hears_status(lambda status: status.declined is not None).declined
        assert declined is not None
        assert declined.reason == Reason.TOO_BUSY
        load.write_text("0.01 1 1 1/1 1")
        assert aggregator.hears_status(lambda status: status.online and status.declined is None).round == 1
        aggregator.answer(aggregator.hears_update())
    finally:
        loop.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert 1_000 < read_moved(tmp_path / "state" / FILE)[1] < 64_000_000 // PARTS, (
        "none set aside when it ends"
    )


@pytest.mark.system
@needs_mosquitto
def test_a_device_whose_bytes_are_used_up_leaves_whoever_used_them_and_returns_on_another_day(
    broker: Broker, aggregator: Aggregator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = ["2026-05-01"]
    monkeypatch.setattr("agent.shell.loop.today", lambda _host: day[0])
    monkeypatch.setattr("agent.core.lifecycle.conditions.MEASURE_AGAIN_S", 0.05)
    config = configure(tmp_path, broker.url)
    config.write_text(f"{config.read_text()}\n[limits]\nbytes_per_day = 100_000\n")
    loop = Loop(AgentSettings.load(config, {}))
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        first = aggregator.hears_status(lambda status: status.online)
        flood = Publication(aggregator.topics.receipt("pi-1"), bytes(10_000))
        aggregator.client.send(*[flood] * 12)
        left = aggregator.hears_status(lambda status: not status.online)
        assert left.connection == first.connection, "its own word, not its will's of another connection"
        aggregator.client.send(*[flood] * 50)
        day[0] = "2026-05-02"
        back = aggregator.hears_status(lambda status: status.online)
        assert (back.boot, back.connection) == (first.boot, first.connection + 1), "once, when it may"
    finally:
        loop.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert read_moved(tmp_path / "state" / FILE)[1] < 100_000, "what others sent meanwhile was not received"
