"""Personal models on a device: the steps of each, by hand, and what its state means."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedge.algorithms.personal.ditto import Ditto, DittoOptions
from fedge.algorithms.personal.finetune import Finetune, FinetuneOptions
from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import Adapted, Start
from fedge.algorithms.registry import PERSONAL
from fedge.algorithms.trainer import Cancelled, Job, never
from fedge.nn import Dense, Network, NetworkSpec, ReLU

NETWORK = Network(NetworkSpec(inputs=3, layers=(Dense(units=2),), loss="cross-entropy"), np.float64)
SIZE = NETWORK.schema.size
RNG = np.random.default_rng(1)
X, Y, W = RNG.normal(size=(12, 3)), RNG.integers(0, 2, 12), RNG.normal(size=SIZE)
FULL = Plan(epochs=3, batch_size=0, learning_rate=0.1, momentum=0.5)


def job(plan: Plan = FULL, state: Mapping[str, Any] | None = None, **more: Any) -> Job:
    rng = np.random.default_rng(7)
    return Job(NETWORK, {"weights": W}, X, Y, plan, rng, state or {}, **more)


def gradient(w: np.ndarray) -> np.ndarray:
    found = np.empty(SIZE)
    NETWORK.loss_and_grad(w, X, Y, found)
    return found


def by_hand(v: np.ndarray, anchor: np.ndarray, steps: int, rate: float, pull: float) -> np.ndarray:
    """u ← μ u + g + λ (v - w), v ← v - α u."""
    u = np.zeros(SIZE)
    for _ in range(steps):
        u = FULL.momentum * u + gradient(v) + pull * (v - anchor)
        v = v - rate * u
    return v


def ditto(state: Mapping[str, Any] | None = None, pull: float = 0.7, plan: Plan = FULL) -> Adapted:
    part = Ditto(DittoOptions(pull=pull))
    return part.adapt(job(plan, state or part.init(SIZE)), Start(W), None, never)


def test_fine_tuning_takes_its_own_epochs_from_the_shared_model() -> None:
    part = Finetune(FinetuneOptions(epochs=2, rate=0.5))
    found = part.adapt(job(), Start(W), W + 1, never)
    np.testing.assert_allclose(found.weights, by_hand(W, W, 2, 0.05, 0.0), rtol=1e-12)
    assert found.state == {}


def test_dittos_steps_are_those_of_the_paper() -> None:
    found = ditto()
    np.testing.assert_allclose(found.weights, by_hand(W, W, 3, 0.1, 0.7), rtol=1e-12)
    assert int(found.state["rounds"]) == 1


def test_dittos_model_goes_on_from_its_state_and_is_drawn_to_the_announced_one() -> None:
    first = ditto()
    assert first.weights is not None
    again = ditto(first.state)
    np.testing.assert_allclose(again.weights, by_hand(first.weights, W, 3, 0.1, 0.7), rtol=1e-12)
    assert int(again.state["rounds"]) == 2


def test_dittos_model_ends_where_the_paper_says() -> None:
    """At the minimum of F(v) + λ/2 ‖v - w‖² the gradient is λ (w - v)."""
    v = ditto(pull=0.5, plan=FULL.model_copy(update={"epochs": 1_000})).weights
    assert v is not None
    np.testing.assert_allclose(gradient(v), 0.5 * (W - v), atol=1e-10)
    assert np.abs(v - W).max() > 0.05


def test_ditto_without_a_pull_is_training_alone() -> None:
    np.testing.assert_allclose(ditto(pull=0.0).weights, by_hand(W, W, 3, 0.1, 0.0), rtol=1e-12)


@pytest.mark.parametrize("name", ["finetune", "ditto"])
def test_the_owners_time_ends_the_work_after_a_step(name: str) -> None:
    part = PERSONAL.make(name)
    one = part.adapt(job(state=part.init(SIZE), enough=lambda: True), Start(W), None, never)
    first = by_hand(W, W, 1, 0.1, 0.0)  # at w the pull is 0
    np.testing.assert_allclose(one.weights, first, rtol=1e-12)
    with pytest.raises(Cancelled):
        part.adapt(job(state=part.init(SIZE)), Start(W), None, lambda: True)


@pytest.mark.parametrize("name", PERSONAL.names())
def test_the_same_arguments_give_the_same_model_and_are_not_changed(name: str) -> None:
    layers = (Dense(units=4), ReLU(), Dense(units=2))  # `head` needs two layers with parameters
    network = Network(NetworkSpec(inputs=3, layers=layers, loss="cross-entropy"), np.float64)
    weights = np.random.default_rng(2).normal(size=network.schema.size)
    part, plan, before = PERSONAL.make(name), FULL.model_copy(update={"batch_size": 5}), weights.copy()
    begun = replace(job(plan, part.init(weights.size)), network=network, received={"weights": weights})
    trained = weights + 1
    found = [
        part.adapt(replace(begun, rng=np.random.default_rng(7)), Start(weights), trained, never).weights
        for _ in range(2)
    ]
    assert (before == weights).all()
    assert (before + 1 == trained).all()
    if found[0] is None or found[1] is None:
        assert name == "none"
    else:
        assert found[0].tobytes() == found[1].tobytes()
