"""FedDyn's device by hand."""

import numpy as np
import pytest

from fedge.algorithms.local.dyn import ENTRY
from fedge.algorithms.registry import LOCAL
from tests.fedge.algorithms.tiny import START, TWO, enough_after, equal, job, run, slope

RATE = TWO.learning_rate


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_two_rounds_by_hand(momentum: float) -> None:
    """L(θ) - ⟨g, θ⟩ + a/2 ‖θ - w‖², with the solver's momentum and decay; then g ← g - a (θ - w)."""
    w, g, a, decay = START, np.zeros(3), 0.5, 0.1
    plan = TWO.model_copy(update={"momentum": momentum, "weight_decay": decay})
    for number in (1, 2):
        theta, v = w, np.zeros(3)
        for _ in range(2):
            v = momentum * v + slope(theta) + decay * theta - g + a * (theta - w)
            theta = theta - RATE * v
        state = {} if number == 1 else {"gradient": g}
        made = run("dyn", job(plan, weights=w, state=state), alpha=a)
        g = g - a * (theta - w)
        assert (made.steps, sorted(made.vectors)) == (2, ["weights"])
        equal(made.vector, theta)
        equal(made.state["gradient"], g)
        assert np.abs(g).max() > 0.01
        w = made.vector


def test_it_begins_with_no_gradient() -> None:
    state = LOCAL.make("dyn").init(3)
    assert {name: (each.dtype, each.tolist()) for name, each in state.items()} == {
        "gradient": (np.float32, [0.0, 0.0, 0.0])
    }


def test_at_the_minimum_its_state_is_the_gradient_of_the_loss() -> None:
    """Where the corrected loss has no slope, L' - g + a (θ - w) = 0; so the next g is L'(θ)."""
    known = np.array([0.4, -0.1, 0.2])
    plan = TWO.model_copy(update={"epochs": 1000})
    made = run("dyn", job(plan, state={"gradient": known}), alpha=0.5)
    np.testing.assert_allclose(made.state["gradient"], slope(made.vector), rtol=0, atol=1e-12)


def test_it_needs_equal_weights_its_server_and_a_codec_that_loses_nothing() -> None:
    found = {need.kind: (need.names, dict(need.options)) for need in ENTRY.needs}
    assert found == {
        "rule": (("mean",), {"weights": "uniform"}),
        "server": (("dyn",), {}),
        "codec": (("float32", "topk"), {}),
    }


def test_it_takes_all_its_steps() -> None:
    assert not LOCAL.make("dyn").partial
    assert run("dyn", job(enough=enough_after(1))).steps == 2


@pytest.mark.parametrize("alpha", [0, -0.1, float("nan"), float("inf")])
def test_what_is_no_strength_is_refused(alpha: object) -> None:
    with pytest.raises(ValueError, match="alpha"):
        LOCAL.make("dyn", {"alpha": alpha})
