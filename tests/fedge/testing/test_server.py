"""`check_server` passes what is right, and names the law that each broken sample breaks."""

from typing import Any

import numpy as np
import pytest

from examples.extend import fedadam
from fedge.algorithms.registry import SERVER
from fedge.testing import BrokenLaw, check_server

Array = np.ndarray


@pytest.mark.parametrize("name", SERVER.names())
def test_the_built_in_ones_keep_the_laws(name: str) -> None:
    check_server(SERVER.entries()[name])


@pytest.mark.parametrize("options", [{}, {"beta1": 0.0, "tau": 1.0, "rate": 1.0}], ids=str)
def test_the_one_with_a_state_keeps_the_laws(options: dict[str, float]) -> None:
    check_server(fedadam.ENTRY, options)


class Momentum:
    """Heavy ball: m ← m/2 + aggregate - base, w ← w + m/2."""

    def init(self, size: int) -> Any:
        return {"m": np.zeros(size)}

    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        m = state["m"] / 2 + np.subtract(aggregate, base, dtype=np.float64)
        return (base + m / 2).astype(np.float32), {"m": m}


class AnotherBeginning(Momentum):
    def init(self, size: int) -> Any:
        return {"m": np.random.default_rng().normal(size=size)}


class AnotherShape(Momentum):
    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        model, after = super().step(base, aggregate, state, share)
        return model, {"m": after["m"].astype(np.float32)}


class StateNotFinite(Momentum):
    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        model, after = super().step(base, aggregate, state, share)
        return model, {"m": after["m"] * np.nan}


class WritesToTheBase(Momentum):
    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        model, after = super().step(base, aggregate, state, share)
        base += after["m"].astype(np.float32) / 2
        return model, after


class WritesToTheState(Momentum):
    """As one that is not careful does: `m += …` is the state's own array."""

    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        m = state["m"]
        m *= 0.5
        m += np.subtract(aggregate, base, dtype=np.float64)
        return (base + m / 2).astype(np.float32), {"m": m}


class Unseeded(Momentum):
    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        model, after = super().step(base, aggregate, state, share)
        return model + np.float32(np.random.random()), after  # noqa: NPY002


class RemembersByItself(Momentum):
    def __init__(self) -> None:
        self.m: Any = 0.0

    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        self.m = self.m / 2 + np.subtract(aggregate, base, dtype=np.float64)
        return (base + self.m / 2).astype(np.float32), state


class ReturnsFloat64(Momentum):
    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        model, after = super().step(base, aggregate, state, share)
        return model.astype(np.float64), after


class NotFinite(Momentum):
    """The square of a large change does not fit into float32."""

    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        change = aggregate - base
        with np.errstate(all="ignore"):
            length = np.sqrt(np.square(change).mean())
            return base + change / np.float32(1 + length) * length, state


class Drifts(Momentum):
    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        model, after = super().step(base, aggregate, state, share)
        return model + np.float32(0.01), after


class Away(Momentum):
    """It takes the pseudo-gradient with the wrong sign."""

    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        return super().step(base, 2 * base - aggregate, state, share)


class UpwardsOnly(Momentum):
    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        return super().step(base, base + np.abs(np.subtract(aggregate, base, dtype=np.float64)), state, share)


class HalfOfTheModel(Momentum):
    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        some = np.where(np.arange(base.size) <= base.size // 2, aggregate, base)
        return super().step(base, some, state, share)


class TurnsAround(Momentum):
    """It takes back in a second step what it did in the first."""

    def step(self, base: Array, aggregate: Array, state: Any, share: float) -> Any:
        m = state["m"]
        change = -m if m.any() else np.subtract(aggregate, base, dtype=np.float64)
        return (base + change).astype(np.float32), {"m": change}


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        ("state", AnotherBeginning),
        ("state", AnotherShape),
        ("state", StateNotFinite),
        ("arguments", WritesToTheBase),
        ("arguments", WritesToTheState),
        ("seeded", Unseeded),
        ("hidden", RemembersByItself),
        ("model", ReturnsFloat64),
        ("model", NotFinite),
        ("still", Drifts),
        ("direction", Away),
        ("direction", UpwardsOnly),
        ("direction", HalfOfTheModel),
        ("direction", TurnsAround),
    ],
)
def test_each_breach_is_found(law: str, broken: Any) -> None:
    with pytest.raises(BrokenLaw) as caught:
        check_server(broken)
    assert caught.value.law == law


def test_one_without_a_breach_passes() -> None:
    check_server(Momentum)


def test_one_that_moves_a_model_that_stands_still_may_say_so() -> None:
    check_server(Drifts, still=False)
