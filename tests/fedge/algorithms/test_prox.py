"""FedProx by hand, and as plain SGD where nothing pulls."""

import numpy as np
import pytest

from fedge.algorithms.local.descent import train
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import LOCAL
from fedge.algorithms.trainer import Job
from fedge.nn import Network, initialize
from tests.fedge.algorithms.test_descent import MLP
from tests.fedge.algorithms.tiny import START, TWO, enough_after, equal, job, run, slope


def test_two_rounds_by_hand() -> None:
    """The anchor is the model of the round, so the second round has another one."""
    w, mu, rate = START, 0.5, TWO.learning_rate
    for _ in range(2):
        first = w - rate * (slope(w) + mu * (w - w))
        second = first - rate * (slope(first) + mu * (first - w))
        made = run("prox", job(weights=w), mu=mu)
        assert made.steps == 2
        equal(made.vector, second)
        w = made.vector


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("bound", [None, 0.1])
def test_without_a_pull_it_is_sgd_to_the_bit(momentum: float, bound: float | None) -> None:
    network, rng = Network(MLP), np.random.default_rng(5)
    w, X = initialize(MLP, rng), network.prepare(rng.normal(size=(23, 4)))
    y = network.prepare_targets(rng.integers(3, size=23))
    plan = Plan(epochs=3, batch_size=5, momentum=momentum, weight_decay=0.01, max_gradient=bound)
    made = run("prox", Job(network, {"weights": w}, X, y, plan, np.random.default_rng(9)), mu=0.0)
    plain = train(network, w, X, y, plan, np.random.default_rng(9))
    assert made.vector.tobytes() == plain.vector.tobytes()
    assert (made.steps, made.loss_after) == (plain.steps, plain.loss_after)
    drawn = run("prox", Job(network, {"weights": w}, X, y, plan, np.random.default_rng(9)))
    assert drawn.vector.tobytes() != plain.vector.tobytes(), "by default it pulls"


def test_what_is_done_when_it_is_enough_counts() -> None:
    made = run("prox", job(enough=enough_after(1)), mu=0.5)
    assert LOCAL.make("prox").partial
    assert made.steps == 1
    equal(made.vector, START - TWO.learning_rate * slope(START))


@pytest.mark.parametrize("mu", [-0.1, float("nan"), float("inf"), "1"])
def test_what_is_no_strength_is_refused(mu: object) -> None:
    with pytest.raises(ValueError, match="mu"):
        LOCAL.make("prox", {"mu": mu})
