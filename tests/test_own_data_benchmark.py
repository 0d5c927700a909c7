"""The benchmark of data that its users bring: what counts as reached, and what it says of it."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks import own_data
from benchmarks.own_data import CASES, judged, measure, short


def found(together: float, central: float, *causes: str, figure: str = "accuracy") -> dict[str, Any]:
    return {
        figure: together,
        f"{figure}_central": central,
        f"{figure}_alone_mean": 0.5,
        "noise": 0.02,
        "verdict": {"kind": "pays", "causes": list(causes)},
        "seconds": 1.0,
    }


class Tries:
    """Answers calls of `fedge try` by whether they are without the cause."""

    def __init__(self, first: dict[str, Any], without: dict[str, Any]) -> None:
        self.first, self.without, self.calls = first, without, 0

    def __call__(self, write: object, arguments: Sequence[str], seed: int, rounds: int) -> dict[str, Any]:
        self.calls += 1
        return self.first if self.calls == 1 else self.without


def test_the_distance_is_in_units_of_the_goal() -> None:
    assert short(found(0.90, 0.96)) == pytest.approx(2)
    assert short(found(11.0, 10.0, figure="rmse")) == pytest.approx(2)


@pytest.mark.parametrize(
    ("name", "first", "without", "met", "calls"),
    [
        ("digits", found(0.96, 0.98), found(0, 0), True, 1),
        ("digits", found(0.90, 0.98), found(0.98, 0.98), False, 1),  # without a cause in the verdict
        ("digits", found(0.90, 0.98, "label skew"), found(0.97, 0.98), True, 2),
        ("digits", found(0.90, 0.98, "label skew"), found(0.90, 0.98), False, 2),  # which was none
        ("digits", found(0.90, 0.98, "gaps"), found(0.98, 0.98), False, 1),  # which is not of this set
        ("diabetes", found(60.0, 54.0, figure="rmse"), found(0, 0, figure="rmse"), False, 1),
        ("watch, by time", found(0.75, 0.75, "sorted by class"), found(0.96, 0.98), True, 2),
        ("watch, by time", found(0.75, 0.75, "sorted by class"), found(0.77, 0.98), False, 2),
        ("watch, by time", found(0.75, 0.75), found(0.96, 0.98), False, 1),
    ],
)
def test_a_goal_is_met_near_one_place_or_by_a_cause_that_was_one(
    name: str,
    first: dict[str, Any],
    without: dict[str, Any],
    met: bool,
    calls: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = Tries(first, without)
    monkeypatch.setattr(own_data, "tried", tries)
    report = measure([name], [1], 60, lambda _: None)
    assert (report["cases"][name]["met"], tries.calls) == (met, calls)
    assert report["missed"] == ([] if met else [name])


def test_a_cause_is_removed_once_however_often_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = Tries(found(0.90, 0.98, "label skew", "label skew"), found(0.97, 0.98))
    monkeypatch.setattr(own_data, "tried", tries)
    judged(CASES["digits"], 1, 60, lambda _: None)
    assert tries.calls == 2


@pytest.mark.parametrize(("together", "code"), [(0.97, 0), (0.80, 1)])
def test_the_program_prints_one_object_and_ends_with_1_where_a_goal_is_missed(
    together: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(own_data, "tried", lambda *_: found(together, 0.98))
    monkeypatch.setattr(own_data, "end_cleanly_on_sigterm", lambda: None)
    monkeypatch.setattr(sys, "argv", ["own_data", "--quick", "--json", "--only", "digits"])
    with pytest.raises(SystemExit) as end:
        own_data.main()
    assert end.value.code == code
    report = json.loads(capsys.readouterr().out)
    assert report["cases"].keys() == {"digits"}
    assert report["missed"] == (["digits"] if code else [])
