"""Bytes of a day: over restarts and power cuts, in few writes, by clocks that are right, wrong or absent."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.shell.memory import Memory
from agent.shell.memory_views import read_moved
from agent.shell.traffic import DAY_S, PARTS, TrafficBudget
from fedge.errors import DamagedState, StateError
from tests.wording import assert_tells

BUDGET = 64_000
PART = BUDGET // PARTS


class Notebook:
    """Counts what is written into it."""

    def __init__(self) -> None:
        self.written: list[tuple[str, int]] = []
        self.fails: StateError | None = None

    def moved(self) -> tuple[str, int]:
        return self.written[-1] if self.written else ("", 0)

    def save_moved(self, day: str, count: int) -> None:
        if self.fails is not None:
            raise self.fails
        self.written.append((day, count))


class Device:
    """A notebook, a calendar and a monotonic clock, and the meter of the program that runs now."""

    def __init__(self, budget: int | None = BUDGET) -> None:
        self.notebook = Notebook()
        self.day: str | None = "2026-05-01"
        self.now_s = 0.0
        self._budget = budget
        self.start()

    def start(self) -> None:
        self.meter = TrafficBudget(self.notebook, self._budget, lambda: self.day, lambda: self.now_s)
        self._total = 0

    def moves(self, count: int) -> int:
        self._total += count
        self.meter.count(self._total)
        return self.meter.spent


@pytest.fixture
def device() -> Device:
    return Device()


def test_a_day_is_written_down_in_few_parts_and_not_for_each_message(device: Device) -> None:
    for number in range(BUDGET // 10):
        assert device.moves(10) == 10 * (number + 1)
    assert len(device.notebook.written) <= PARTS


def test_a_clean_restart_forgets_and_adds_nothing(device: Device) -> None:
    device.moves(1_234)
    device.meter.close()
    device.start()
    assert device.meter.spent == 1_234
    assert device.moves(1) == 1_235


def test_after_a_power_cut_never_too_little_is_counted_and_a_part_too_much_at_most(device: Device) -> None:
    moved = 0
    for cut in range(20):
        device.moves(333)
        moved += 333
        device.start()
        assert moved <= device.meter.spent <= moved + (cut + 1) * PART


def test_without_a_budget_nothing_is_written() -> None:
    device = Device(None)
    assert device.moves(10**9) == 0
    device.meter.close()
    assert device.notebook.written == []


def test_another_date_begins_anew(device: Device) -> None:
    device.moves(5_000)
    device.day = "2026-05-02"
    assert device.moves(7) == 7
    device.start()
    assert 7 <= device.meter.spent <= 7 + PART


def test_a_date_that_goes_back_is_another_date_too(device: Device) -> None:
    """A synchronised clock is believed: the one before was wrong."""
    device.day = "2099-01-01"
    device.moves(5_000)
    device.day = "2026-05-01"
    assert device.moves(7) == 7


def test_a_clock_that_is_not_synchronised_begins_no_day(device: Device) -> None:
    device.moves(5_000)
    device.meter.close()
    device.day = None
    device.start()  # a device without a clock of its own, after its battery was changed
    assert device.moves(7) == 5_007
    device.day = "2026-05-01"
    assert device.moves(1) == 5_008, "it is still the same day"
    device.day = "2026-05-02"
    assert device.moves(1) == 1


def test_bytes_of_a_day_not_yet_known_count_on_the_day_that_it_turns_out_to_be() -> None:
    device = Device()
    device.day = None
    assert device.moves(100) == 100
    device.day = "2026-05-01"
    assert device.moves(1) == 101


def test_after_24_hours_at_work_a_day_is_over_whatever_the_clock_says(device: Device) -> None:
    device.day = None
    device.moves(5_000)
    device.now_s = DAY_S - 1
    assert device.moves(1) == 5_001
    device.now_s = DAY_S
    assert device.moves(1) == 1
    device.now_s = 2 * DAY_S - 1
    assert device.moves(1) == 2


def test_a_device_without_a_clock_that_is_off_every_night_sees_its_days_end(device: Device) -> None:
    device.day = None
    device.moves(BUDGET)
    for _ in range(2):
        for hour in range(11):
            device.now_s += 3_600
            assert device.moves(0) >= BUDGET, hour
        device.start()  # without a clean end, and monotonic clocks begin anywhere
        device.now_s += 1_000_000
        device.start()
    device.now_s += 2 * 3_600
    assert device.moves(1) == 1
    assert len(device.notebook.written) < 2 * 24 + 3


def test_the_day_of_25_hours_is_one_day(device: Device) -> None:
    device.moves(5_000)
    device.now_s = DAY_S + 1_800
    assert device.moves(1) == 5_001


def test_a_full_disk_is_said_and_counting_goes_on(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    device.notebook.fails = StateError("agent.db: the disk is full")
    with caplog.at_level(logging.ERROR):
        assert [device.moves(10) for _ in range(50)][-1] == 500
    assert len(caplog.records) == 1, "once a part, not once a message"
    assert_tells(caplog.text, "agent.db: the disk is full")
    device.notebook.fails = DamagedState("agent.db: is damaged")
    with pytest.raises(DamagedState):
        device.moves(PART)


def test_the_devices_memory_is_such_a_notebook(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    assert read_moved(path) == ("", 0), "there is none yet"

    def used(action: Callable[[Memory], None]) -> None:
        memory = Memory(path)
        action(memory)
        memory.close()

    used(lambda memory: None)
    assert read_moved(path) == ("", 0)

    def count(memory: Memory) -> None:
        assert memory.moved() == ("", 0)
        meter = TrafficBudget(memory, BUDGET, lambda: "2026-05-01", lambda: 0.0)
        meter.count(70)
        assert memory.moved() == read_moved(path) == ("2026-05-01", 70 + PART)
        meter.close()

    used(count)
    assert read_moved(path) == ("2026-05-01", 70)
