"""The rule with noise: the laws of rules, the noise of its seed, refusals, and what it needs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedge.algorithms.composition import Choice, Composition, unfit
from fedge.algorithms.protocols import State
from fedge.algorithms.registry import RULES, registered
from fedge.algorithms.rules.private_mean import PRIVATE_MEAN, PrivateMean, PrivateMeanOptions
from fedge.privacy.mechanism import Grid, Sum
from fedge.privacy.randomness import Expanded
from fedge.testing.rule import SomeUpdates, check_rule

SEED = bytes(range(32))
SECRET = {"noise_seed": np.frombuffer(SEED, np.uint8)}
BASE = np.array([1.0, 2.0, -3.0], np.float32)


class Drawn(PrivateMean):
    """The rule as a program would run it that draws a seed for each round."""

    def init(self, size: int) -> State:
        return {**super().init(size), **SECRET}


def options(**given: Any) -> PrivateMeanOptions:
    return PrivateMeanOptions.model_validate({"clip": 1.0, "noise_multiplier": 0.5, "cohort": 1000} | given)


def updates(*changes: Sequence[float], samples: int = 1, prefix: str = "pi") -> SomeUpdates:
    vectors = [BASE + np.array(change, np.float32) for change in changes]
    return SomeUpdates({f"{prefix}-{k}": (v.copy, samples) for k, v in enumerate(vectors)}, 3)


def aggregated(rule: PrivateMean, given: SomeUpdates) -> np.ndarray:
    return rule.aggregate(given, BASE, rule.init(3)).vector


# The laws


def twin(matrix: np.ndarray, samples: Sequence[int], base: np.ndarray) -> np.ndarray:
    """Each update clipped by the norm of NumPy, then the noise of the same seed."""
    size, moved = matrix.shape[1], np.zeros(matrix.shape[1])
    for vector in matrix:
        change = vector - base
        moved += change * min(1.0, 1.0 / max(np.linalg.norm(change), 1e-300))
    grid = Grid(1.0, size)
    noise = Sum(np.zeros(size, np.int64)).noised(grid.noise_variance(0.5), Expanded(SEED, "updates"))
    return base + (moved + noise * 2.0**-20) / 1000


@pytest.mark.parametrize("given", [{}, {"quantile": 0.5}], ids=["fixed", "adaptive"])
def test_it_keeps_the_laws_of_rules(given: dict[str, Any]) -> None:
    check_rule(lambda: Drawn(options(**given)), twin=twin, between=False)


# The noise


def test_without_noise_to_speak_of_it_is_the_mean_of_clipped_changes() -> None:
    rule = Drawn(options(noise_multiplier=1e-6, cohort=4))
    found = aggregated(rule, updates((0.5, 0, 0), (0, 30.0, 40.0)))
    assert found - BASE == pytest.approx([0.125, 0.15, 0.2], abs=1e-5)


def test_sample_counts_do_not_matter() -> None:
    few, many = (aggregated(Drawn(options()), updates((1, 0, 0), samples=n)) for n in (1, 10**9))
    assert few.tobytes() == many.tobytes()


def test_another_seed_gives_other_noise_and_the_same_seed_the_same() -> None:
    rule, given = PrivateMean(options()), updates((1, 0, 0))
    found = [
        rule.aggregate(given, BASE, {**rule.init(3), "noise_seed": np.frombuffer(seed, np.uint8)}).vector
        for seed in (SEED, SEED, SEED[::-1])
    ]
    assert found[0].tobytes() == found[1].tobytes()
    assert (found[0] != found[2]).all()


def test_the_seed_is_never_in_the_next_state() -> None:
    for given in ({}, {"quantile": 0.5}):
        rule = Drawn(options(**given))
        assert set(rule.aggregate(updates((1, 0, 0)), BASE, rule.init(3)).state) == {"clip"}


def test_what_counted_is_not_told() -> None:
    """The factor by which an update was shortened would tell its length."""
    rule = Drawn(options())
    assert rule.aggregate(updates((9, 0, 0)), BASE, rule.init(3)).counted == {}


def test_the_clip_follows_the_lengths() -> None:
    """Of 100 updates none is within the clip: C exp(.2 · (.5 + noise / 100)) with noise of 5."""
    rule = Drawn(options(quantile=0.5, cohort=100))
    state = rule.aggregate(updates(*[(9.0, 0, 0)] * 100), BASE, rule.init(3)).state
    assert float(state["clip"][0]) == pytest.approx(np.exp(0.1), rel=0.2 * 5 * 0.05)
    assert float(state["clip"][0]) > 1
    fixed = Drawn(options(cohort=100))
    assert fixed.aggregate(updates((9.0, 0, 0)), BASE, fixed.init(3)).state["clip"].tolist() == [1.0]


def test_the_clip_of_the_state_counts() -> None:
    rule = Drawn(options(noise_multiplier=1e-6, cohort=1))
    found = rule.aggregate(updates((9.0, 0, 0)), BASE, {**rule.init(3), "clip": np.array([4.0])})
    assert found.vector - BASE == pytest.approx([4, 0, 0], abs=1e-4)


# Refusals


@pytest.mark.parametrize(
    "state", [{}, {"noise_seed": np.zeros(16, np.uint8)}, {"noise_seed": np.zeros(32, np.float32)}]
)
def test_without_a_secret_seed_nothing_is_released(state: dict[str, np.ndarray]) -> None:
    rule = PrivateMean(options())
    with pytest.raises(ValueError, match="no secret seed"):
        rule.aggregate(updates((1, 0, 0)), BASE, {**rule.init(3), **state})


def test_more_devices_than_declared_are_refused() -> None:
    rule = Drawn(options(cohort=2))
    aggregated(rule, updates((1, 0, 0), (1, 0, 0)))
    with pytest.raises(ValueError, match="3 updates, and a cohort of 2"):
        aggregated(rule, updates((1, 0, 0), (1, 0, 0), (1, 0, 0)))


def test_a_count_with_too_little_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="in the count of devices"):
        PRIVATE_MEAN.made({"clip": 1.0, "noise_multiplier": 1.0, "cohort": 10, "quantile": 0.5})


# Needs


def test_no_federation_can_choose_it_by_its_name() -> None:
    """By itself it promises nothing: `[privacy]` chooses it, with a budget."""
    assert "private-mean" not in RULES.built_in()


@pytest.mark.parametrize(
    ("kind", "name"), [("local", "scaffold"), ("local", "nova"), ("personal", "clusters"), ("server", "dyn")]
)
def test_parts_that_release_more_are_refused(kind: str, name: str) -> None:
    with registered(PRIVATE_MEAN):
        given = {"clip": 1.0, "noise_multiplier": 1.0, "cohort": 10}
        private = Composition.usual().having("rule", Choice.of("rule", "private-mean", given))
        assert unfit(private) is None
        parts = dict(private.parts) | {kind: Choice.of(kind, name)}
        assert unfit(replace(private, parts=parts)) is not None
