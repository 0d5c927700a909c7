"""52: a broker goes away and comes back, and its 1,000 clients do not come in the same second."""

import heapq
import random
import resource
import selectors
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aggregator.config import reconnect_spread_s
from fedge.transport.backoff import STABLE_S, pause_s
from fleet.demo import broker as brokers
from tests.chaos.strict_broker import needs_mosquitto

CLIENTS = 1_000
SPREAD_S = reconnect_spread_s(CLIENTS)
AT_MOST = CLIENTS * 5 // 100
"""In any one second."""
CONNECT = bytes.fromhex("10140004 4d515454 05 02 003c 00 0007".replace(" ", ""))
"""MQTT 5, section 3.1: "MQTT", version 5, clean start, keep-alive 60 s, no properties, a client id of 7."""


def busiest_second(moments: list[float]) -> int:
    """The most moments that lie in one second, wherever it begins."""
    moments = sorted(moments)
    most = first = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def comes_back(away_s: float, draw: Callable[[], float]) -> float:
    """When one client is back, whose connection ended (or first attempt failed) at 0."""
    failures = 1
    now_s = pause_s(failures, SPREAD_S, draw(), lost=True)
    while now_s < away_s:
        failures += 1
        now_s += pause_s(failures, SPREAD_S, draw(), lost=False)
    return now_s


@pytest.mark.parametrize("away_s", [0.5, 5, 15, 30, 35, 36, 37, 60, 75, 120, 600, 3600])
def test_fault_52_at_most_five_percent_come_in_any_second(away_s: float) -> None:
    busiest = []
    for seed in range(20):
        draw = random.Random(seed).random
        back_s = [comes_back(away_s, draw) for _ in range(CLIENTS)]
        busiest.append(busiest_second(back_s))
        assert max(back_s) - away_s <= SPREAD_S + 20.05, "nobody waits for longer than one pause"
    # 28 a second on average: 50 is 4.2 standard deviations above, which some second of some draw exceeds.
    assert sorted(busiest)[-2] <= AT_MOST
    assert max(busiest) <= AT_MOST * 1.1


def test_fault_52_a_broker_that_dies_again_while_they_come() -> None:
    """Those who had just come lose their young connection together, and must not come back together."""
    for seed in range(20):
        draw = random.Random(seed).random
        first_s = [comes_back(1.0, draw) for _ in range(CLIENTS)]
        died_s = SPREAD_S / 2
        second_s = []
        for moment in first_s:
            if moment > died_s:
                second_s.append(moment)
            else:
                failures = 1 if died_s - moment > STABLE_S else 2
                second_s.append(died_s + pause_s(failures, SPREAD_S, draw(), lost=True))
        # Two waves of one density each, where they overlap: still bounded.
        assert busiest_second(second_s) <= 2 * AT_MOST


def test_a_small_fleet_is_back_at_once() -> None:
    assert pause_s(1, reconnect_spread_s(20), 0.999, lost=True) <= 1.6
    assert pause_s(1, 0.0, 0.0, lost=True) > 0, "never a busy loop"
    assert pause_s(50, 0.0, 0.999, lost=False) <= 20.05, "and never longer than the longest"


@pytest.mark.system
@pytest.mark.long
@needs_mosquitto
def test_fault_52_a_thousand_clients_of_a_real_broker(tmp_path: Path) -> None:
    with brokers.start("mosquitto", tmp_path) as broker:
        port = int(broker.url.rsplit(":", 1)[1])
        with Crowd(port, CLIENTS, random.Random(52)) as crowd:
            crowd.until(lambda: crowd.connected == CLIENTS)
            broker.kill()
            crowd.until(lambda: crowd.connected == 0)
            crowd.until(lambda: False, patience_s=SPREAD_S)  # away for as long as attempts could pile up
            crowd.accepted_s.clear()
            broker.restart()
            crowd.until(lambda: crowd.connected == CLIENTS)
        most = busiest_second(crowd.accepted_s)
        print(
            f"{CLIENTS} clients back within {crowd.accepted_s[-1] - crowd.accepted_s[0]:.1f} s, "
            f"at most {most} in one second"
        )
        assert most <= AT_MOST


class Crowd:
    """Clients that connect to a broker and wait as `fedge.transport` does, in one selector loop."""

    def __init__(self, port: int, clients: int, drawn: random.Random) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * clients)), hard))
        self.accepted_s: list[float] = []
        self.connected = 0
        self._port = port
        self._draw = drawn.random
        self._selector = selectors.DefaultSelector()
        self._failures = [0] * clients
        self._up_s: list[float | None] = [None] * clients
        self._due = [(time.monotonic() + pause_s(1, 1.0, self._draw(), lost=True), i) for i in range(clients)]
        heapq.heapify(self._due)

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def until(self, condition: Callable[[], bool], patience_s: float = 120.0) -> None:
        """Live until something is true, or for so long."""
        deadline_s = time.monotonic() + patience_s
        while not condition() and (now_s := time.monotonic()) < deadline_s:
            while self._due and self._due[0][0] <= now_s:
                self._connect(heapq.heappop(self._due)[1])
            next_s = self._due[0][0] if self._due else deadline_s
            for key, _ in self._selector.select(max(0.0, min(next_s, now_s + 0.2) - now_s)):
                self._read(key.fileobj, key.data)  # type: ignore[arg-type]

    def _connect(self, i: int) -> None:
        connection = socket.socket()
        try:
            connection.connect(("127.0.0.1", self._port))
            connection.sendall(CONNECT + f"c{i:06d}".encode())
        except OSError:
            connection.close()
            self._wait(i)
            return
        self._selector.register(connection, selectors.EVENT_READ, i)

    def _read(self, connection: socket.socket, i: int) -> None:
        try:
            data = connection.recv(256)
        except OSError:
            data = b""
        if data[:1] == b"\x20" and data[3] == 0:  # CONNACK, section 3.2: success
            self._up_s[i] = time.monotonic()
            self.accepted_s.append(time.monotonic())
            self.connected += 1
        elif not data:
            self._selector.unregister(connection)
            connection.close()
            self._wait(i)

    def _wait(self, i: int) -> None:
        now_s, up_s = time.monotonic(), self._up_s[i]
        stable = up_s is not None and now_s - up_s > STABLE_S
        self.connected -= up_s is not None
        self._failures[i] = 1 if stable else self._failures[i] + 1
        lost = up_s is not None or self._failures[i] == 1
        self._up_s[i] = None
        heapq.heappush(self._due, (now_s + pause_s(self._failures[i], SPREAD_S, self._draw(), lost=lost), i))
