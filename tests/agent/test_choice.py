"""Which model a device uses: that with the least loss, and the one alone unless another is clearly better."""

import numpy as np
import pytest

from agent.core.state import ALONE, PERSONAL, SHARED
from agent.trainers.choice import choose, chooses
from fedge.algorithms.plan import Plan
from fedge.nn import Dense, Network, NetworkSpec

LINE = Network(NetworkSpec(inputs=1, layers=(Dense(units=1),), loss="mse"), np.float64)
"""y = a x + b with the weights (a, b); the loss of a row is (a x + b - y)²."""
X, Y = np.ones((4, 1)), np.zeros((4, 1))


def constant(value: float) -> np.ndarray:
    """Answers this number everywhere."""
    return np.array([0.0, value])


def kind(*candidates: tuple[int, np.ndarray], X: np.ndarray = X, y: np.ndarray = Y) -> int:
    return choose(LINE, candidates, X, y)[0]


def test_the_least_loss_decides_and_of_equal_ones_the_first() -> None:
    assert kind((SHARED, constant(2.0)), (PERSONAL, constant(1.0))) == PERSONAL
    assert kind((SHARED, constant(1.0)), (PERSONAL, constant(2.0))) == SHARED
    assert kind((SHARED, constant(1.0)), (PERSONAL, constant(-1.0))) == SHARED


@pytest.mark.parametrize(
    ("targets", "chosen"),
    [
        # Alone answers 0 and the personal model 1: the losses differ by y² - (1 - y)² = 2 y - 1.
        ([1.0, 1.0, 1.0, 1.0], PERSONAL),  # by 1 in each row: no error
        # 1, 1, 1, -.4: the mean is .65, and the error .7 / √4 = .35; twice that is more
        ([1.0, 1.0, 1.0, 0.3], ALONE),
        # 1, 1, 1, -.2: the mean is .7, and the error .6 / √4 = .3; twice that is less
        ([1.0, 1.0, 1.0, 0.4], PERSONAL),
        ([0.5, 0.5, 0.5, 0.5], ALONE),  # they are equally good
    ],
)
def test_the_model_alone_stays_unless_another_is_better_by_two_standard_errors(
    targets: list[float], chosen: int
) -> None:
    y = np.array(targets).reshape(-1, 1)
    assert kind((PERSONAL, constant(1.0)), (ALONE, constant(0.0)), y=y) == chosen
    shared = SHARED if chosen == PERSONAL else ALONE
    assert kind((SHARED, constant(1.0)), (ALONE, constant(0.0)), y=y) == shared


def test_of_several_that_are_better_than_alone_the_best_is_used() -> None:
    models = (SHARED, constant(0.5)), (PERSONAL, constant(0.2)), (ALONE, constant(1.0))
    assert kind(*models) == PERSONAL


def test_a_model_without_a_finite_loss_is_not_used() -> None:
    broken = np.array([np.nan, 0.0])
    assert kind((SHARED, broken), (PERSONAL, constant(9.0))) == PERSONAL
    assert kind((SHARED, constant(9.0)), (ALONE, broken)) == SHARED
    assert kind((SHARED, broken), (PERSONAL, broken)) == SHARED


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
def test_the_losses_of_the_rows_add_up_to_the_loss(loss: str) -> None:
    spec = NetworkSpec.model_validate({"inputs": 2, "layers": [{"type": "dense", "units": 3}], "loss": loss})
    network, rng = Network(spec), np.random.default_rng(0)
    w = rng.normal(size=spec.schema.size).astype(np.float32)
    rows = rng.normal(size=(7, 2))
    y = rng.integers(0, 3, 7) if loss == "cross-entropy" else rng.normal(size=(7, 3))
    found = network.losses(w, rows, y)
    assert found.shape == (7,)
    assert found.mean() == pytest.approx(network.evaluate(w, rows, y).loss, rel=1e-5)
    each = [network.evaluate(w, rows[i : i + 1], y[i : i + 1]).loss for i in range(7)]
    np.testing.assert_allclose(found, each, rtol=1e-5)


def test_only_who_has_several_models_needs_rows_to_choose_by() -> None:
    assert not chooses(None)
    assert not chooses(Plan())
    assert chooses(Plan(compare=True))
    assert chooses(Plan(personal="finetune"))
    assert chooses(Plan(personal="ditto"))
    assert not chooses(Plan(personal="head"))
    assert not chooses(Plan(personal="none"))
