"""The fleet's figures of devices' own models, beside models alone: by hand, and with one liar of twenty."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.aggregation.compared import counts, worse_off
from aggregator.aggregation.figures import fault, summarize
from aggregator.core import round_log
from aggregator.core.choice import measures_of
from aggregator.core.progress import Progress, progress_of
from aggregator.core.verdicts import Verdict
from aggregator.shell.counters import Counters
from fedge.wire.freshness import RoundId
from tests.aggregator.test_metrics import values
from tests.wording import assert_tells

NEEDED = 2**21


def told(rows: int, shared: int, used: int, alone: int, chose: int = 1, samples: int = 40) -> Verdict:
    """A device that gets so many of its held-out rows right."""
    metrics = {
        "held_out": float(rows),
        "accuracy_before": shared / rows,
        "accuracy_personal": used / rows,
        "accuracy_alone": alone / rows,
        "chose": float(chose),
    }
    return Verdict(b"d" * 32, "admitted", samples=samples, metrics=metrics)


FLEET = {
    "same": told(10, 8, 9, 9, chose=1),
    "one-row": told(10, 8, 8, 9, chose=0),  # by one row: not worse off, with either model
    "two-rows": told(10, 9, 7, 9, chose=1),  # by two with its own, by none with the shared one
    "shared-is-worse": told(7, 3, 6, 5, chose=1),
}


def test_a_device_is_worse_off_by_more_than_one_row() -> None:
    found = summarize(FLEET, NEEDED)
    assert (found["compared"], found["worse_off"], found["shared_worse_off"]) == (4, 1, 1)
    assert (found["use_shared"], found["use_personal"]) == (1, 3)
    # The lowest and the highest of .9, .8, .7 and 6/7 do not count: 8 of 10 rows and 6 of 7 are left.
    assert found["accuracy_personal"] == pytest.approx(14 / 17)
    # .9, .9, .9 and 5/7
    assert found["accuracy_alone"] == pytest.approx(0.9)


@given(st.integers(1, 400), st.data())
def test_shares_of_rows_are_as_good_as_rows(rows: int, data: Any) -> None:
    used, alone = (data.draw(st.integers(0, rows)) for _ in range(2))
    metrics = told(rows, 0, used, alone).metrics
    assert worse_off(metrics, "personal") == (alone - used > 1)


def test_of_a_regression_it_is_one_mean_square_more() -> None:
    """√(11/10) of ten rows is the limit: 10 · 4.4 = 11 · 4."""
    metrics = {"held_out": 10.0, "rmse_alone": 2.0}
    assert worse_off({**metrics, "rmse_personal": 4.39**0.5}, "personal") is False
    assert worse_off({**metrics, "rmse_personal": 4.41**0.5}, "personal") is True
    assert worse_off({**metrics, "rmse_personal": 1e308}, "personal") is True
    assert worse_off({**metrics, "rmse_personal": 1e308, "rmse_alone": 1e308}, "personal") is False


def test_who_does_not_compare_is_not_counted() -> None:
    nothing_held = {**told(10, 1, 1, 9).metrics, "held_out": 0.0}
    without_alone = {"held_out": 10.0, "accuracy_before": 0.1, "accuracy_personal": 0.5, "chose": 1.0}
    only_shared = {"held_out": 10.0, "accuracy_before": 0.1, "accuracy_alone": 0.9}
    assert counts([nothing_held]) == {"use_shared": 0, "use_personal": 1}
    assert counts([without_alone]) == {"use_shared": 0, "use_personal": 1}
    assert counts([only_shared]) == {}
    found = counts([only_shared, told(10, 5, 5, 9, chose=0).metrics])
    assert (found["compared"], found["worse_off"], found["shared_worse_off"]) == (1, 1, 1)


CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "held_out": st.integers(0, 2**31 - 1).map(float),
        "chose": st.sampled_from((0.0, 1.0, 2.0)),  # the last one is out of range
        **{f"accuracy_{whose}": st.floats(0, 1) for whose in ("before", "personal", "alone")},
        **{f"rmse_{whose}": st.floats(0, 1e308) for whose in ("before", "personal", "alone")},
    },
)


@settings(deadline=None)
@given(CLAIMS, st.integers(1, 10**6))
def test_one_of_twenty_changes_each_count_by_one_and_an_accuracy_by_little(
    claims: dict[str, float], samples: int
) -> None:
    honest = {f"pi-{k}": told(20, 10 + k % 5, 12 + k % 5, 11 + k % 5) for k in range(19)}
    before = summarize(honest, NEEDED)
    found = summarize(
        {**honest, "liar": Verdict(b"d" * 32, "admitted", samples=samples, metrics=claims)}, NEEDED
    )
    for name in ("compared", "worse_off", "shared_worse_off", "use_shared", "use_personal"):
        assert 0 <= found[name] - before[name] <= 1, name
    for name in ("accuracy_personal", "accuracy_alone"):
        # What the others say spreads over 4 rows of 20: of n = 20 it moves 1 / (n - 2) of that.
        assert abs(found[name] - before[name]) <= 0.2 / 17, name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accuracy_personal", 1.5),
        ("accuracy_alone", -0.1),
        ("chose", 2.0),  # the model alone: no device uses it
        ("chose", 0.5),
        ("rmse_alone", -1.0),
    ],
)
def test_what_cannot_be_true_is_refused(name: str, value: float) -> None:
    assert_tells(fault({name: value}) or "", f"{name} = ")


SUMMARY = {"weight_change": 1.0, "accuracy": 0.75, "held_loss": 0.5, **summarize(FLEET, NEEDED)}


def test_the_line_on_a_round_says_how_devices_fare() -> None:
    now = progress_of([("train", SUMMARY)], "accuracy")
    parts = round_log.closed(RoundId(1, 1), "train", 4, 160, {**SUMMARY, "seconds": 1.0}, now)
    line = round_log.line(parts)
    assert_tells(line, "own models", f"accuracy {SUMMARY['accuracy_personal']:.4f}", "alone accuracy 0.9000")
    assert_tells(line, "worse off", "1 of 4 devices", "1 with the shared model")
    plain = {"weight_change": 1.0, "accuracy": 0.75}
    parts = round_log.measured(progress_of([("train", plain)], "accuracy"), 1)
    assert "alone" not in round_log.line(parts)


def test_the_end_says_it_of_the_last_model() -> None:
    last = {**SUMMARY, "worse_off": 0}
    now = progress_of([("train", SUMMARY)], "accuracy").after_measuring(last)
    assert_tells(round_log.finished("1 round", now, 1), "worse off", "0 of 4 devices")


def test_the_exported_manifest_has_it_of_the_measured_model() -> None:
    now: Progress = progress_of([("train", SUMMARY)], "accuracy").after_measuring({**SUMMARY, "worse_off": 0})
    found = measures_of(now, now.made)
    assert (found["compared"], found["worse_off"], found["shared_worse_off"]) == (4, 0, 1)
    assert found["accuracy_alone"] == SUMMARY["accuracy_alone"]


def test_prometheus_sees_it() -> None:
    counters = Counters()
    counters.closed({"seconds": 1.0, **SUMMARY})
    seen = values(counters)
    assert seen["fedge_accuracy_personal_ratio",] == SUMMARY["accuracy_personal"]
    assert seen["fedge_accuracy_alone_ratio",] == SUMMARY["accuracy_alone"]
    assert (seen["fedge_devices_compared",], seen["fedge_devices_worse_off",]) == (4, 1)
    assert seen["fedge_devices_shared_worse_off",] == 1
    assert [seen["fedge_devices_using", model] for model in ("shared", "personal")] == [1, 3]
    assert ("fedge_devices_using", "alone") not in seen
    without = Counters()
    without.closed({"seconds": 1.0, "weight_change": 1.0, "accuracy": 0.5})
    assert not [key for key in values(without) if "worse_off" in key[0] or "using" in key[0]]
