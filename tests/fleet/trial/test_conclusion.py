"""The judgement follows from the figures."""

from dataclasses import replace

import numpy as np
import pytest

from fleet.demo.figure import ACCURACY, RMSE
from fleet.trial.conclusion import Figures, Kind, constant, judge, noise
from fleet.trial.finding import Cause, Finding
from tests.wording import assert_tells

GOOD = Figures(ACCURACY, 0.95, 0.60, 0.96, 0.20, 0.94, 0.90, 0.02)
SKEW = Finding(Cause.LABEL_SKEW, "they differ", "fewer epochs", 0.5, 0.3, ("d1", "d2", "d3", "d4"))


@pytest.mark.parametrize(
    ("figures", "kind", "pays", "reaches"),
    [
        (GOOD, Kind.PAYS, True, True),
        (replace(GOOD, central=0.99), Kind.FALLS_SHORT, True, False),
        (replace(GOOD, together=0.61), Kind.FALLS_SHORT, False, False),
        (replace(GOOD, alone=0.94), Kind.NOT_NEEDED, False, True),
        (replace(GOOD, together=0.20), Kind.NOTHING_LEARNT, False, False),
        (replace(GOOD, together=0.19, alone=0.10), Kind.NOTHING_LEARNT, False, False),
        (Figures(RMSE, 20.0, 30.0, 19.5, 40.0, 20.0, 25.0, 0.02), Kind.PAYS, True, True),
        (Figures(RMSE, 20.0, 30.0, 18.0, 40.0, 20.0, 25.0, 0.02), Kind.FALLS_SHORT, True, False),
        (Figures(RMSE, 41.0, 42.0, 40.0, 40.0, 41.0, 42.0, 0.02), Kind.NOTHING_LEARNT, False, True),
    ],
)
def test_the_kind(figures: Figures, kind: Kind, pays: bool, reaches: bool) -> None:
    found = judge(figures, [])
    assert (found.kind, found.pays, found.reaches_central) == (kind, pays, reaches)


def test_causes_are_named_where_something_is_wrong_and_only_there() -> None:
    short = judge(replace(GOOD, central=0.99), [SKEW])
    assert short.causes == (SKEW,)
    assert_tells(short.sentences[-1], "label skew", "d1, d2, d3, …")
    assert short.as_json()["causes"] == ["label skew"]
    assert judge(GOOD, [SKEW]).causes == ()
    assert_tells(judge(replace(GOOD, central=0.99), []).sentences[-1], "--rounds")
    assert not any("--rounds" in one for one in short.sentences)


def test_what_spoils_all_models_alike_is_named_though_they_are_equally_good() -> None:
    finding = replace(SKEW, cause=Cause.SORTED, devices=("d7",))
    found = judge(GOOD, [SKEW, finding])
    assert (found.kind, found.causes) == (Kind.PAYS, (finding,))
    assert_tells(found.sentences[-1], str(Cause.SORTED), "d7")


def test_it_is_said_where_devices_are_better_alone_and_where_rows_are_few() -> None:
    assert not any("94.0%" in one for one in judge(GOOD, []).sentences)
    own = judge(replace(GOOD, alone_own=0.99), [])
    assert_tells(" ".join(own.sentences), "own rows", "99.0%", "94.0%")
    few = judge(replace(GOOD, central=0.99, noise=0.06), [])
    assert any("± 6.0%" in one for one in few.sentences)
    many = judge(replace(GOOD, central=0.99, noise=0.01), [])
    assert not any("±" in one for one in many.sentences)


def test_the_constant_answer_is_the_training_rows_own() -> None:
    assert constant(ACCURACY, np.array([0, 1, 1]), np.array([0, 0, 0, 1, 1])) == 0.4
    answers, truth = np.array([[1.0], [3.0]]), np.array([[2.0], [4.0]])
    assert constant(RMSE, answers, truth) == pytest.approx(2**0.5)


def test_noise_is_that_of_the_difference_on_the_same_rows() -> None:
    """Against drawing the rows again: 300 times, 400 rows, of which the models disagree on one in ten."""
    rng, h = np.random.default_rng(3), 400
    truth = np.zeros(h, dtype=np.int64)
    right = np.eye(2)[np.zeros(h, dtype=np.int64)]
    other = right.copy()
    other[rng.choice(h, 40, replace=False)] = [0, 1]
    found = noise(ACCURACY, right, other, truth)
    drawn = []
    for _ in range(300):
        rows = rng.integers(0, h, h)
        drawn.append(ACCURACY.of(right[rows], truth[rows]) - ACCURACY.of(other[rows], truth[rows]))
    assert found == pytest.approx(2 * np.std(drawn), rel=0.2)
    y = rng.normal(size=(h, 1))
    one, two = y + rng.normal(size=(h, 1)), y + 1.1 * rng.normal(size=(h, 1))
    drawn = []
    for _ in range(300):
        rows = rng.integers(0, h, h)
        drawn.append(RMSE.of(one[rows], y[rows]) / RMSE.of(two[rows], y[rows]))
    assert noise(RMSE, one, two, y) == pytest.approx(2 * np.std(drawn), rel=0.3)
