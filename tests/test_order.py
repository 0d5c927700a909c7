"""Whatever part of the tests a worker gets, some of them wait and some compute; modules stay whole."""

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from tests import order


@dataclass(frozen=True)
class Test:
    __test__ = False
    path: Path
    number: int
    waits: bool

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return pytest.mark.system.mark if self.waits and name == "system" else None


def mixed(*tests: Test) -> list[Test]:
    return cast(list[Test], order.mixed(cast(list[pytest.Item], tests)))


def module(name: str, count: int, *, waits: bool) -> list[Test]:
    return [Test(Path(name), number, waits) for number in range(count)]


def test_each_part_has_as_many_that_wait() -> None:
    waiting = [test for number in range(12) for test in module(f"system/{number}", 2, waits=True)]
    computing = [test for number in range(24) for test in module(f"pure/{number}", 10, waits=False)]
    tests = mixed(*computing, *waiting)
    assert sorted(map(hash, tests)) == sorted(map(hash, (*waiting, *computing)))
    quarter = len(tests) // 4
    parts = [tests[start : start + quarter] for start in range(0, len(tests), quarter)]
    assert [sum(test.waits for test in part) for part in parts] == [6, 6, 6, 6]


def test_a_modules_tests_of_a_kind_stay_side_by_side_in_their_order() -> None:
    both = [
        test
        for pair in zip(*(module("both", 3, waits=waits) for waits in (True, False)), strict=True)
        for test in pair
    ]
    tests = mixed(*module("first", 4, waits=False), *both, *module("last", 4, waits=True))
    for path, waits in {(test.path, test.waits) for test in tests}:
        places = [place for place, test in enumerate(tests) if (test.path, test.waits) == (path, waits)]
        assert places == list(range(places[0], places[0] + len(places)))
        assert [tests[place].number for place in places] == list(range(len(places)))


@pytest.mark.parametrize("waits", [True, False])
def test_tests_of_one_kind_stay_as_they_are(waits: bool) -> None:
    tests = [*module("one", 3, waits=waits), *module("two", 2, waits=waits)]
    assert mixed(*tests) == tests
    assert mixed() == []


@pytest.mark.parametrize(
    ("cores", "gib", "taken"), [(1, 8, 2), (2, 8, 4), (8, 32, 16), (4, 1, 2), (64, 16, 32), (1, 0, 1)]
)
def test_workers_are_two_for_each_core_that_the_memory_suffices_for(cores: int, gib: int, taken: int) -> None:
    assert order.workers(cores, gib * 2**30) == taken


def test_only_the_cores_that_may_be_used_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3}, raising=False)
    monkeypatch.setattr("os.sysconf", lambda _: 2**20)
    assert order.pytest_xdist_auto_num_workers() == 2
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "5")
    assert order.pytest_xdist_auto_num_workers() == 5


def test_what_was_collected_is_looked_at_no_more_and_what_tests_make_is() -> None:
    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000
