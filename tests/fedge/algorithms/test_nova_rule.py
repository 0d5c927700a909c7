"""The rule `nova`: base + τ_eff (Σ p_k v_k - base)."""

from collections.abc import Iterator

import numpy as np

from fedge.algorithms.contribution import LANES, Contribution
from fedge.algorithms.registry import RULES
from fedge.testing.laws import same
from fedge.testing.rule import SomeUpdates

BASE = np.array([1, -2], np.float32)


def updates(*told: tuple[tuple[float, float], int, int]) -> SomeUpdates:
    """Updates of devices with these v_k, n_k and τ_k."""
    made = {f"pi-{k}": (np.array(v, np.float32).copy, n) for k, (v, n, _) in enumerate(told)}
    return SomeUpdates(made, 2, {f"pi-{k}": steps for k, (*_, steps) in enumerate(told)})


def test_the_mean_change_of_a_step_is_multiplied_by_the_mean_number_of_steps() -> None:
    found = RULES.make("nova").aggregate(updates(((1, 0), 1, 4), ((3, -2), 3, 2)), BASE, {}).vector
    # Σ p_k v_k = ((1 + 9) / 4, -6 / 4); τ_eff = (4 + 6) / 4 = 2.5
    # w = (1 + 2.5 · 1.5, -2 + 2.5 · 0.5)
    assert found.tolist() == [4.75, -0.75]


def test_with_as_many_steps_on_each_device_it_is_the_mean_of_what_they_ended_with() -> None:
    ended, counts, steps = np.array([(3, 6), (-5, 2), (9, -10)], np.float64), (1, 2, 5), 8
    sent = [tuple(BASE + (w - BASE) / steps) for w in ended]
    found = (
        RULES.make("nova")
        .aggregate(updates(*((v, n, steps) for v, n in zip(sent, counts, strict=True))), BASE, {})
        .vector
    )
    # (3 - 10 + 45) / 8, (6 + 4 - 50) / 8
    assert found.tolist() == [4.75, -5.0]


def test_with_one_step_on_each_device_it_is_the_mean() -> None:
    rng = np.random.default_rng(0)
    told = [
        ((float(a), float(b)), int(n), 1)
        for a, b, n in zip(*rng.normal(size=(2, 9)), range(1, 10), strict=True)
    ]
    base = np.zeros(2, np.float32)  # no other base: the difference from it is rounded
    found, mean = (RULES.make(name).aggregate(updates(*told), base, {}).vector for name in ("nova", "mean"))
    assert same(found, mean)


def test_one_pass_is_enough() -> None:
    class Once(SomeUpdates):
        passes = 0

        def lanes(self, lanes: range = LANES) -> Iterator[Contribution]:
            self.passes += 1
            return super().lanes(lanes)

    once = Once({"pi-1": (BASE.copy, 3)}, 2)
    RULES.make("nova").aggregate(once, BASE, {})
    assert once.passes == 1


def test_it_needs_the_devices_own_half() -> None:
    entry = RULES.entries()["nova"]
    assert [(need.kind, need.names) for need in entry.needs] == [("local", ("nova",))]
    assert RULES.make("nova").version == "nova/1"


def test_a_liar_raises_the_number_of_steps_within_the_bound() -> None:
    """One of K = 20 counts 10 times as much as each other, and says 10 times as many steps, or one: with
    `max_weight` m = 10 nothing else passes. The rule's docstring says at most (K - 1 + m²) / (K - 1 + m) =
    119 / 29 times the others' τ, and at least 19 / 29 times."""
    others, base = [((29.0, 0.0), 1, 2)] * 19, np.zeros(2, np.float32)
    more, fewer = (
        RULES.make("nova").aggregate(updates(*others, ((29.0, 0.0), 10, steps)), base, {}).vector[0] / 29
        for steps in (20, 1)
    )
    # (19 · 2 + 10 · 20) / 29, (19 · 2 + 10 · 1) / 29
    assert np.allclose([more, fewer], [2 * 119 / 29, (2 * 19 + 10) / 29])
