"""`check_rule` passes what is right, and names the law that each broken sample breaks."""

from typing import Any

import numpy as np
import pytest

from examples.extend import huber
from fedge.algorithms.protocols import Combined, Rule, State, Updates
from fedge.algorithms.registry import RULES
from fedge.algorithms.rules.mean import finish, partial
from fedge.testing import BrokenLaw, check_rule
from tests.fedge.algorithms.robust_twins import WAYS, twin

Array = np.ndarray


@pytest.mark.parametrize("name", RULES.names())
def test_the_built_in_ones_keep_the_laws(name: str) -> None:
    check_rule(
        RULES.entries()[name],
        twin=twin(name) if name in WAYS else None,
        between=name not in ("centered-clipping", "norm-bound"),  # they shorten to an absolute length
    )


class Mean(Rule):
    version = "mean/1"

    def aggregate(self, updates: Updates, base: Array, state: State) -> Combined:
        return Combined(self.vector(updates, base))

    def vector(self, updates: Updates, base: Array) -> Any:
        return finish(partial(updates.lanes()))[0]


def weighted_mean(matrix: Array, samples: Any, base: Array) -> Array:
    return np.asarray(samples, float) @ matrix / sum(samples)


def iterated(matrix: Array, samples: Any, base: Array) -> Array:
    """Huber's location of all updates at once, in as many steps as the rule takes."""
    middle = weighted_mean(matrix, samples, base)
    for _ in range(8):
        far = np.linalg.norm(matrix - middle, axis=1)
        counted = np.minimum(1, far.mean() / np.where(far > 0, far, np.inf)) + (far == 0)
        middle = weighted_mean(matrix, np.asarray(samples) * counted, base)
    return middle


def test_those_with_a_twin_agree_with_it() -> None:
    check_rule(Mean, twin=weighted_mean)
    check_rule(huber.ENTRY, twin=iterated)


def test_another_twin_is_none() -> None:
    with pytest.raises(BrokenLaw) as caught:
        check_rule(Mean, twin=lambda matrix, samples, base: matrix.mean(axis=0))
    assert caught.value.law == "twin"


class NoVersion(Mean):
    version = "mean"


class Float64(Mean):
    def vector(self, updates: Updates, base: Array) -> Any:
        return super().vector(updates, base).astype(np.float64)


class NotFinite(Mean):
    """The median of distances is 0 for one update alone."""

    def vector(self, updates: Updates, base: Array) -> Any:
        mean = super().vector(updates, base)
        far = sum(float(np.linalg.norm(update.vector - mean)) for update in updates.lanes())
        with np.errstate(all="ignore"):
            return (mean / np.float32(far) * np.float32(far)).astype(np.float32)


class DividesByTheDistance(Mean):
    """Weiszfeld's step where it has none to take: all updates lie in one place."""

    def vector(self, updates: Updates, base: Array) -> Any:
        middle = super().vector(updates, base)
        if len(updates) == 1:
            return middle
        far = {update.device: np.linalg.norm(update.vector - middle) for update in updates.lanes()}
        with np.errstate(all="ignore"):
            weights = {device: 1 / distance for device, distance in far.items()}
            total = sum(weights.values())
            parts = (update.vector * (weights[update.device] / total) for update in updates.lanes())
            return sum(parts, np.zeros(updates.size)).astype(np.float32)


class SumsInFloat32(Mean):
    def vector(self, updates: Updates, base: Array) -> Any:
        total, count = np.zeros(updates.size, np.float32), 0
        with np.errstate(all="ignore"):
            for update in updates.lanes():
                total += np.float32(update.samples) * update.vector
                count += update.samples
        return total / np.float32(count)


class WritesToTheBase(Mean):
    def vector(self, updates: Updates, base: Array) -> Any:
        base[...] = super().vector(updates, base)
        return base.copy()


class WritesToAnUpdate(Mean):
    def vector(self, updates: Updates, base: Array) -> Any:
        for update in updates.lanes():
            update.vector[...] *= update.samples
        return super().vector(updates, base)


class GlobalNoise(Mean):
    def vector(self, updates: Updates, base: Array) -> Any:
        return super().vector(updates, base) + np.float32(1e-7 * np.random.random())  # noqa: NPY002


class RemembersTheLastRound(Mean):
    def __init__(self) -> None:
        self.last: Any = 0.0

    def vector(self, updates: Updates, base: Array) -> Any:
        mean = super().vector(updates, base)
        found = mean if np.shape(self.last) != mean.shape else (0.9 * mean + 0.1 * self.last + 1e-6)
        self.last = mean
        return found.astype(np.float32)


class LaterCountsMore(Mean):
    """A running average in the order in which updates come."""

    def vector(self, updates: Updates, base: Array) -> Any:
        found: Any = None
        for update in updates.lanes():
            found = update.vector.copy() if found is None else (found + update.vector) / np.float32(2)
        return found


class FirstIsTaken(Mean):
    def vector(self, updates: Updates, base: Array) -> Any:
        return next(updates.lanes()).vector.copy()


class HalfOfTheBase(Mean):
    """It mixes the base in, so that one update alone is not the result."""

    def vector(self, updates: Updates, base: Array) -> Any:
        return (super().vector(updates, base) + base) / np.float32(2)


class TooFar(Mean):
    """It goes farther than any update, where there are several."""

    def vector(self, updates: Updates, base: Array) -> Any:
        mean = super().vector(updates, base)
        return mean if len(updates) == 1 else base + np.float32(9) * (mean - base)


class AllSteps(Mean):
    """It goes as far as all devices' steps together."""

    def vector(self, updates: Updates, base: Array) -> Any:
        steps = sum(update.steps for update in updates.lanes())
        far = steps if steps > len(updates) else 1
        mean = super().vector(updates, base)
        return (base + np.float64(far) * np.subtract(mean, base, dtype=np.float64)).astype(np.float32)


class StepsOfTheFirst(Mean):
    """It goes as far as the steps of the first device."""

    def vector(self, updates: Updates, base: Array) -> Any:
        steps = next(updates.lanes()).steps
        mean = super().vector(updates, base)
        return (base + np.float64(steps) * np.subtract(mean, base, dtype=np.float64)).astype(np.float32)


class HoldsAll(Mean):
    def vector(self, updates: Updates, base: Array) -> Any:
        return np.median([update.vector for update in updates.lanes()], axis=0).astype(np.float32)


class CopiesAll(Mean):
    """It holds none of the updates, and a copy of each."""

    def vector(self, updates: Updates, base: Array) -> Any:
        matrix = np.stack([update.vector.astype(np.float64) for update in updates.lanes()])
        return np.median(matrix, axis=0).astype(np.float32)


class NoCombined(Mean):
    """It returns the vector itself."""

    def aggregate(self, updates: Updates, base: Array, state: State) -> Any:
        return self.vector(updates, base)


class FewestIsAShare(Mean):
    fewest: Any = 0.5


class CountsAStranger(Mean):
    def aggregate(self, updates: Updates, base: Array, state: State) -> Combined:
        return Combined(self.vector(updates, base), {"nobody": 1.0})


class CountsTwice(Mean):
    def aggregate(self, updates: Updates, base: Array, state: State) -> Combined:
        return Combined(self.vector(updates, base), {each.device: 2.0 for each in updates.lanes()})


class WantsTooMuch(Mean):
    memory = 65 << 20


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        ("version", NoVersion),
        ("vector", Float64),
        ("vector", NotFinite),
        ("vector", DividesByTheDistance),
        ("vector", SumsInFloat32),
        ("arguments", WritesToTheBase),
        ("arguments", WritesToAnUpdate),
        ("set", GlobalNoise),
        ("set", RemembersTheLastRound),
        ("order", LaterCountsMore),
        ("order", FirstIsTaken),
        ("alone", HalfOfTheBase),
        ("between", TooFar),
        ("order", StepsOfTheFirst),
        ("between", AllSteps),
        ("memory", HoldsAll),
        ("memory", CopiesAll),
        ("memory", WantsTooMuch),
        ("vector", NoCombined),
        ("fewest", FewestIsAShare),
        ("counted", CountsAStranger),
        ("counted", CountsTwice),
    ],
)
def test_each_breach_is_found(law: str, broken: Any) -> None:
    with pytest.raises(BrokenLaw) as caught:
        check_rule(broken)
    assert caught.value.law == law


def test_one_that_groups_devices_by_their_order_may_say_so() -> None:
    check_rule(FirstIsTaken, order=False)


def test_one_that_goes_farther_than_its_updates_may_say_so() -> None:
    check_rule(TooFar, between=False)
