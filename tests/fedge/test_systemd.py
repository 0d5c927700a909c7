"""What the service manager hears: that the program is ready, and that it is alive for as long as it is."""

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedge.service.liveness import Pulse, stuck
from fedge.service.systemd import ServiceManager, Watchdog


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Ear:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    ear = Ear(str(tmp_path / "notify"))
    yield ear
    ear.close()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "40000000"}


def test_a_part_is_stuck_when_it_does_not_keep_its_promise(clock: Clock) -> None:
    one, two = Pulse("one", clock), Pulse("two", clock)
    clock.s += 1e6
    assert stuck([one, two]) == []
    one.within(10)
    two.within(20)
    clock.s += 15
    assert stuck([one, two]) == ["one"]
    assert one.overdue_s() == 5
    one.within(10)
    two.rest()
    clock.s += 10
    assert stuck([one, two]) == []
    clock.s += 1
    assert stuck([one, two]) == ["one"]


def test_new_work_does_not_put_off_a_promise_that_is_owed(clock: Clock) -> None:
    pulse = Pulse("worker", clock)
    pulse.expect(10)
    clock.s += 6
    pulse.expect(10)
    clock.s += 6
    assert pulse.overdue_s() == 2
    pulse.rest()
    pulse.expect(10)
    assert pulse.overdue_s() == 0


def test_the_manager_hears_each_word(ear: Ear, environment: dict[str, str]) -> None:
    manager = ServiceManager(environment)
    manager.ready()
    manager.feed()
    manager.stopping()
    assert ear.heard() == ["READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_a_name_in_the_abstract_namespace_is_found() -> None:
    name = f"fedge-test-{os.getpid()}"
    ear = Ear("\0" + name)
    try:
        ServiceManager({"NOTIFY_SOCKET": "@" + name}).ready()
        assert ear.heard() == ["READY=1"]
    finally:
        ear.close()


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "0"}])
def test_without_a_manager_nothing_happens(environment: dict[str, str]) -> None:
    manager = ServiceManager(environment)
    manager.ready()
    watchdog = Watchdog(manager)
    watchdog.look(Pulse("one"))
    assert watchdog.period_s is None
    assert (watchdog.wait_s(None), watchdog.wait_s(7.0)) == (None, 7.0)


@pytest.mark.parametrize(
    ("more", "seconds"),
    [({}, 40.0), ({"WATCHDOG_PID": str(os.getpid())}, 40.0), ({"WATCHDOG_PID": "1"}, None)],
)
def test_a_watchdog_meant_for_another_process_is_not_ours(
    environment: dict[str, str], more: dict[str, str], seconds: float | None
) -> None:
    assert ServiceManager(environment | more).watchdog_s == seconds


def test_the_watchdog_is_fed_until_a_part_is_stuck(
    ear: Ear, environment: dict[str, str], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    watchdog, pulse = Watchdog(ServiceManager(environment), clock), Pulse("the trainer", clock)
    assert watchdog.wait_s(None) == watchdog.wait_s(3600.0) == 10.0
    watchdog.look(pulse)
    watchdog.look(pulse)
    assert ear.heard() == ["WATCHDOG=1"], "a loop that turns fast does not feed at each turn"
    pulse.within(15)
    for _ in range(4):
        clock.s += 10
        watchdog.look(pulse)
    assert ear.heard() == ["WATCHDOG=1"]
    (told,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "the trainer" in told.getMessage()
    pulse.rest()
    clock.s += 10
    watchdog.look(pulse)
    assert ear.heard() == ["WATCHDOG=1"]
