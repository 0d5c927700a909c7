"""FedNova's device by hand: what is sent is the change of one step."""

import numpy as np
import pytest

from fedge.algorithms.local.nova import ENTRY
from fedge.algorithms.registry import LOCAL
from tests.fedge.algorithms.tiny import START, TWO, X, Y, enough_after, equal, job, run, slope

RATE = TWO.learning_rate


def test_two_rounds_by_hand() -> None:
    """w + (w₂ - w) / 2 is sent; figures are of w₂. The next round begins at what two such devices make."""
    w = START
    for _ in range(2):
        first = w - RATE * slope(w)
        second = first - RATE * slope(first)
        made = run("nova", job(weights=w))
        assert (made.steps, sorted(made.vectors)) == (2, ["weights"])
        equal(made.vectors["weights"], w + (second - w) / 2)
        equal(made.vector, second)
        assert made.loss_after == pytest.approx(np.mean((X @ second[:2] + second[2] - Y) ** 2), rel=1e-14)
        w = w + 2 * (made.vectors["weights"] - w)
        equal(w, second)


def test_weight_decay_is_part_of_the_gradient() -> None:
    made = run("nova", job(TWO.model_copy(update={"weight_decay": 0.3})))
    first = START - RATE * (slope(START) + 0.3 * START)
    second = first - RATE * (slope(first) + 0.3 * first)
    equal(made.vectors["weights"], START + (second - START) / 2)


def test_what_is_done_when_it_is_enough_counts_by_its_own_steps() -> None:
    made = run("nova", job(enough=enough_after(1)))
    assert LOCAL.make("nova").partial
    assert made.steps == 1
    equal(made.vectors["weights"], START - RATE * slope(START))
    equal(made.vector, made.vectors["weights"])


def test_it_needs_its_rule_and_no_momentum() -> None:
    rule, plan = ENTRY.needs
    assert (rule.kind, rule.names) == ("rule", ("nova",))
    assert (plan.kind, dict(plan.options)) == ("plan", {"momentum": 0.0})
