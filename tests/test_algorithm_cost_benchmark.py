"""The benchmark of what a local algorithm costs a device counts vectors, and names what costs too much."""

from dataclasses import replace

import pytest

from benchmarks import algorithm_cost
from benchmarks.algorithm_cost import MOST_MORE, Cost, goals, measure, report, table
from benchmarks.verdict import judged
from fedge.algorithms.local.scaffold import Scaffold


@pytest.fixture(scope="module")
def costs() -> dict[str, Cost]:
    return {cost.name: cost for cost in measure(1, ["sgd", "scaffold"])}


def test_vectors_and_state_are_counted_in_models(costs: dict[str, Cost]) -> None:
    """SCAFFOLD: weights and a control variate both ways, and the device's own variate as state."""
    assert (costs["sgd"].received, costs["sgd"].sent, costs["sgd"].state) == (1, 1, 0)
    assert (costs["scaffold"].received, costs["scaffold"].sent, costs["scaffold"].state) == (2, 2, 1)


def test_memory_and_time_are_told_beside_sgd(costs: dict[str, Cost]) -> None:
    assert (costs["sgd"].ram, costs["sgd"].seconds) == (0, 1)
    assert costs["scaffold"].ram >= 1, "its next state is one more vector"
    assert costs["scaffold"].ram <= Scaffold.memory + MOST_MORE, "as the owner's limit counts it"
    assert costs["scaffold"].seconds > 0


def test_what_costs_more_than_is_stated_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    least = Cost("scaffold", received=1, sent=1, state=0, ram=0, seconds=1)
    for changes in ({"received": 3}, {"sent": 3}, {"state": 1.5}, {"ram": 2.1}, {"seconds": 2.5}):
        found = [least, replace(least, **changes)]
        assert [goal.met for goal in goals(found)].count(False) == 1
        assert judged(report(found), table(found), goals(found), as_json=True) == 1
    assert judged(report([least]), table([least]), goals([least]), as_json=False) == 0
    assert "seconds" in capsys.readouterr().out


def test_every_registered_local_algorithm_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    class Noted(algorithm_cost.Round):
        def __init__(self, name: str) -> None:
            made.append(name)
            super().__init__(name)

    monkeypatch.setattr(algorithm_cost, "Round", Noted)
    monkeypatch.setattr(algorithm_cost, "ROWS", 10)
    measure(1)
    assert made == list(algorithm_cost.LOCAL.names())
