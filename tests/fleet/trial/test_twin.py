"""The fleet that `fedge try` computes in its own process answers to the bit what a federation learns."""

import numpy as np
import pytest

from agent.config import AgentSettings
from agent.data.dataset import Dataset, fit
from agent.sources.caller_sources import GivenArrays
from fedge import NetworkSpec, Plan, Task, simulate
from fleet.trial import twin

PLAN = Plan(epochs=2, batch_size=8, learning_rate=0.1)
ROUNDS, SEED = 2, 5
TASK = Task(
    network=NetworkSpec.model_validate(
        {"inputs": 2, "layers": [{"type": "dense", "units": 1}], "loss": "mse"}
    ),
    features=("u", "v"),
    targets=("w",),
)


def recorded(number: int, offset: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    X = rng.normal((offset, 0.0), 1.0, (60, 2))
    return X, (X[:, :1] - offset) + X[:, 1:]


def data_of(name: str, X: np.ndarray, y: np.ndarray) -> Dataset:
    settings = AgentSettings.model_validate(
        {"federation": "f", "device": name, "data": {"source": "python", "callable": "a:b"}}
    )
    return fit(GivenArrays(name, X, y).read(), TASK, settings.data, exact=True)


def require_the_same(offset: float) -> None:
    devices = {f"pi-{k}": recorded(k, offset) for k in range(5)}
    X, _ = recorded(9, offset)
    learnt = simulate(TASK, devices, plan=PLAN, rounds=ROUNDS, seed=SEED).model.predict(X)
    fleet = {name: data_of(name, *data) for name, data in devices.items()}
    answers = twin.predict(TASK, fleet, PLAN, ROUNDS, SEED, X)
    assert np.ptp(learnt) > 1
    assert answers.tobytes() == learnt.tobytes()


def test_it_computes_what_a_federation_does() -> None:
    require_the_same(offset=0.0)


def test_so_it_does_on_columns_that_are_too_fine_for_float32() -> None:
    """Around 1.7e9 neighbours in float32 are 128 apart, and these values lie within a few units."""
    require_the_same(offset=1.7e9 + 50)


def test_a_missing_value_of_such_a_column_counts_as_the_exact_mean() -> None:
    """The mean in float32 would be 50 spreads away from it."""
    offset = 1.7e9 + 50
    fleet = {f"pi-{k}": data_of(f"pi-{k}", *recorded(k, offset)) for k in range(5)}
    missing, mean = twin.predict(TASK, fleet, PLAN, 10, SEED, np.array([[np.nan, 0.0], [offset, 0.0]]))
    assert missing == pytest.approx(mean, abs=0.5)
