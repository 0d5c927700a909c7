"""Which model a device uses: the shared or the personal one, whichever has the least loss."""

import numpy as np
import pytest

from agent.core.state import PERSONAL, SHARED
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


def test_it_is_the_mean_loss() -> None:
    """The loss is the squared error, so of two constants the one nearer to the mean answer is better."""
    y = np.array([[1.0], [1.0], [1.0], [0.3]])
    assert kind((SHARED, constant(1.0)), (PERSONAL, constant(0.0)), y=y) == SHARED
    assert kind((SHARED, constant(1.0)), (PERSONAL, constant(0.0)), y=y - 0.5) == PERSONAL
    assert kind((SHARED, constant(1.0)), (PERSONAL, constant(0.0)), y=y * 0 + 0.5) == SHARED


def test_a_model_without_a_finite_loss_is_not_used() -> None:
    broken = np.array([np.nan, 0.0])
    assert kind((SHARED, broken), (PERSONAL, constant(9.0))) == PERSONAL
    assert kind((SHARED, constant(9.0)), (PERSONAL, broken)) == SHARED
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
    assert not chooses(Plan(compare=True)), "the model alone is never used"
    assert not chooses(Plan(personal="head", compare=True))
    assert chooses(Plan(personal="finetune", compare=True))
    assert chooses(Plan(personal="clusters"))
    assert chooses(Plan(personal="finetune"))
    assert chooses(Plan(personal="ditto"))
    assert not chooses(Plan(personal="head"))
    assert not chooses(Plan(personal="none"))
