"""The steps of `descend` with every term, against the formula; clipping, and an early end."""

from typing import Any

import numpy as np
import pytest

from fedge.algorithms.local.descent import BLOCK, descend, rounded, train
from fedge.algorithms.plan import Plan
from fedge.algorithms.trainer import Diverged
from fedge.nn import Network, NetworkSpec, initialize
from fedge.nn.spec import Dense, ReLU
from tests.fedge.algorithms.tiny import SPEC, START, TWO, Array, X, Y, enough_after, equal, slope

MLP = NetworkSpec(inputs=4, layers=(Dense(units=5), ReLU(), Dense(units=3)), loss="cross-entropy")


def tiny(**more: Any) -> tuple[Array, int]:
    """The weights after the steps of a plan, and their number."""
    network, vector = Network(SPEC, np.float64), START.copy()
    plan = TWO.model_copy(update=more.pop("plan", {}))
    X_, y_ = network.prepare(X), network.prepare_targets(Y)
    steps = descend(network, vector, X_, y_, plan, np.random.default_rng(0), **more)
    return vector, steps


def mlp(dtype: Any = np.float64, scale: float = 1.0) -> tuple[Network, Array, Array, Array]:
    network, rng = Network(MLP, dtype), np.random.default_rng(5)
    X_ = network.prepare(scale * rng.normal(size=(23, 4)))
    return network, initialize(MLP, rng, dtype), X_, network.prepare_targets(rng.integers(3, size=23))


def shortened(g: Array, bound: float) -> Array:
    return g * min(1.0, bound / np.sqrt(np.sum(g**2)))


@pytest.mark.parametrize("bound", [None, 0.5])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("pull", [0.0, 0.7])
@pytest.mark.parametrize("offset", [None, np.array([0.4, -0.3, 0.2])])
def test_a_step_has_all_its_terms(
    bound: float | None, momentum: float, decay: float, pull: float, offset: Array | None
) -> None:
    anchor = np.array([-1.0, 0.5, 2.0])
    changes = {"epochs": 3, "momentum": momentum, "weight_decay": decay, "max_gradient": bound}
    found, steps = tiny(plan=changes, pull=pull, anchor=anchor, offset=offset)
    w, v = START, np.zeros(3)
    for _ in range(3):
        g = slope(w) if bound is None else shortened(slope(w), bound)
        v = momentum * v + g + decay * w + pull * (w - anchor) + (0 if offset is None else offset)
        w = w - 0.05 * v
    assert steps == 3
    equal(found, w)


def test_a_pull_needs_an_anchor() -> None:
    with pytest.raises(ValueError, match="anchor"):
        tiny(pull=0.1)


def test_a_gradient_is_shortened_by_its_length_over_all_layers() -> None:
    """Each layer's own length is below the bound here, and that of all together above it."""
    network, w, X_, y_ = mlp()
    g = np.empty_like(w)
    network.loss_and_grad(w, X_, y_, g)
    layers = [np.linalg.norm(g[:25]), np.linalg.norm(g[25:])]
    bound = (max(layers) + float(np.linalg.norm(g))) / 2
    plan = Plan(epochs=1, batch_size=0, learning_rate=0.1, max_gradient=bound)
    expected = w - 0.1 * shortened(g, bound)
    descend(network, w, X_, y_, plan, np.random.default_rng(0))
    equal(w, expected)
    assert np.linalg.norm(shortened(g, bound)) < np.linalg.norm(g)


@pytest.mark.parametrize("bound", [None, 0.05])
def test_samples_in_blocks_take_the_same_steps(monkeypatch: pytest.MonkeyPatch, bound: float | None) -> None:
    """In blocks of 3 rows the gradient comes whole, in one piece; the mean is of all 23 rows."""
    plan = Plan(epochs=3, batch_size=0, learning_rate=0.1, momentum=0.5, weight_decay=0.1, max_gradient=bound)
    made = []
    for entries in (2**20, 15):  # the widest layer has 5
        monkeypatch.setattr("fedge.nn.network.BLOCK_ENTRIES", entries)
        network, w, X_, y_ = mlp()
        begun = w.copy()
        more = {"pull": 0.7, "anchor": begun, "offset": np.full_like(w, 0.3)}
        descend(network, w, X_, y_, plan, np.random.default_rng(0), **more)
        made.append(w)
    equal(*made)
    assert np.abs(made[0] - begun).max() > 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bound_that_is_never_reached_changes_no_bit(dtype: Any) -> None:
    network, w, X_, y_ = mlp(dtype)
    plan = Plan(epochs=3, batch_size=5, learning_rate=0.1, momentum=0.5, weight_decay=0.01)
    bounded = plan.model_copy(update={"max_gradient": 1e6})
    made = [train(network, w, X_, y_, each, np.random.default_rng(2)).vector for each in (plan, bounded)]
    assert made[0].tobytes() == made[1].tobytes()


def test_a_gradient_whose_square_is_too_large_for_float32_is_shortened_too() -> None:
    """g is some 1e22, its square infinite in float32: the step would be 0, and is as long as the bound."""
    network, w, X_, y_ = mlp(np.float32)
    begun = w.copy()
    plan = Plan(epochs=1, batch_size=0, learning_rate=0.5, max_gradient=0.25)
    with np.errstate(all="ignore"):
        descend(network, w, X_ * np.float32(1e22), y_, plan, np.random.default_rng(0))
    assert np.linalg.norm((w - begun).astype(np.float64)) == pytest.approx(0.5 * 0.25, rel=1e-5)


@pytest.mark.parametrize("worst", [np.inf, np.nan])
def test_a_gradient_that_is_not_finite_is_not_hidden_by_its_bound(worst: float) -> None:
    network, w, X_, y_ = mlp(np.float32)
    X_[3, 2] = worst
    plan = Plan(epochs=1, batch_size=0, max_gradient=1.0)
    with np.errstate(all="ignore"), pytest.raises(Diverged):
        descend(network, w, X_, y_, plan, np.random.default_rng(0))


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 6])
def test_training_ends_where_it_is_enough(steps: int) -> None:
    """Three steps an epoch; what is done is what a shorter run does. All six are done if nobody ends it."""
    network, w, X_, y_ = mlp(np.float32)
    plan, path = Plan(epochs=2, batch_size=8, learning_rate=0.1), []

    def note() -> bool:
        path.append(noted.copy())
        return False

    noted = w.copy()
    descend(network, noted, X_, y_, plan, np.random.default_rng(2), note)
    path.append(noted)
    made = train(network, w, X_, y_, plan, np.random.default_rng(2), enough=enough_after(steps))
    assert made.steps == steps
    assert made.vector.tobytes() == path[steps].tobytes()
    assert made.loss_after == network.loss(path[steps], X_, y_)


def test_it_is_asked_before_each_step_but_the_first() -> None:
    asked: list[bool] = []

    def enough() -> bool:
        asked.append(True)
        return False

    assert tiny(plan={"epochs": 4}, enough=enough)[1] == 4
    assert len(asked) == 3
    assert tiny(plan={"epochs": 4}, enough=lambda: True)[1] == 1


def test_what_is_done_by_an_early_end_has_to_be_finite() -> None:
    network, w, X_, y_ = mlp(np.float32, scale=1e20)
    plan = Plan(epochs=1, batch_size=2, learning_rate=1e3)
    with np.errstate(all="ignore"), pytest.raises(Diverged) as caught:
        descend(network, w, X_, y_, plan, np.random.default_rng(0), enough=enough_after(3))
    assert "3 steps" in str(caught.value)


@pytest.mark.parametrize("entry", [1e39, np.inf, np.nan])
def test_what_float32_cannot_hold_has_diverged(entry: float) -> None:
    with pytest.raises(Diverged, match=r"0\.25"):
        rounded(np.array([1.0, entry]).__getitem__, 2, np.float32, 0.25)
    assert rounded(np.array([1.5, 1e38]).__getitem__, 2, np.float32, 0.25).dtype == np.float32


def test_a_vector_is_rounded_block_by_block() -> None:
    """Also a last block that is shorter; 1 + 2⁻³⁰ lies between two numbers of float32, nearer to 1."""
    vector = np.arange(2 * BLOCK + 3) * (1 + 2.0**-30)
    seen: list[slice] = []

    def made(place: slice) -> Array:
        seen.append(place)
        return vector[place]

    assert np.array_equal(rounded(made, len(vector), np.float32, 0.25), vector.astype(np.float32))
    assert seen == [slice(0, BLOCK), slice(BLOCK, 2 * BLOCK), slice(2 * BLOCK, 2 * BLOCK + 3)]
