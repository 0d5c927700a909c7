"""What server optimizers make of one liar's push: how far a weight moves in a round, and over rounds."""

import math
from collections.abc import Iterable

import numpy as np
import pytest

from fedge.algorithms.registry import SERVER
from fedge.algorithms.rules.bounds import Factors, bounds

RATE = 0.01
B1, B2 = 0.9, 0.99
MOST = {
    # Cauchy and Schwarz: m = Σ (1 - β₁) β₁^i Δ_i, and v ≥ Σ (1 - β₂) β₂^i Δ_i²
    "adam": (1 - B1) / math.sqrt((1 - B2) * (1 - B1**2 / B2)),
    # v ≥ (1 - β₂) β₂^i Δ_i² for each i alone
    "yogi": (1 - B1) / math.sqrt(1 - B2) / (1 - B1 / math.sqrt(B2)),
    # m = Δ, and v ≥ Δ²
    "adagrad": 1.0,
}


def moves(name: str, changes: Iterable[np.ndarray], rate: float = RATE) -> np.ndarray:
    """The steps of the model, of shape (rounds, p), if the mean of the updates changes it so."""
    server, found = SERVER.make(name, {"rate": rate}), []
    changes = list(changes)
    state, base = server.init(len(changes[0])), np.zeros(len(changes[0]))
    for change in changes:
        vector, state = server.step(base, base + change, state, 1.0)
        found.append(vector - base)
    return np.array(found)


@pytest.mark.parametrize("name", MOST)
def test_no_weight_moves_farther_in_a_round_whatever_is_sent(name: str) -> None:
    """Changes that grow by each of these factors from round to round, single spikes, and random ones."""
    rng = np.random.default_rng(0)
    factors = np.array([0.5, 0.9, 0.995, 1.0, 1.005, 1.05, 1.1, 1.11, 1.2, 1.5, 2.0, 10.0])
    grown = [1e-6 * factors**k for k in range(100)]
    spikes = [np.where(np.arange(12) == k % 12, 1e9, 1e-9) for k in range(100)]
    random = [10.0 ** rng.uniform(-9, 9, 12) * rng.choice([-1, 1], 12) for _ in range(300)]
    farthest = max(np.abs(moves(name, each)).max() for each in (grown, spikes, random))
    assert farthest <= MOST[name] * RATE * (1 + 1e-9)
    assert farthest > 0.9 * RATE


def pushed(rounds: int) -> list[np.ndarray]:
    """The means of rounds of twenty. One pushes the last weight, which no other moves."""
    rng, found = np.random.default_rng(1), []
    for _ in range(rounds):
        sent = 0.01 * rng.normal(size=(20, 10))
        sent[:, -1] = 0.0
        sent[0] = [0.0] * 9 + [1e9]
        norms = np.linalg.norm(sent, axis=1)
        scales = bounds(norms.tolist(), [1] * 20, Factors()).scales
        found.append((sent * np.array(scales)[:, None]).mean(axis=0))
    return found


def test_where_no_other_moves_a_weight_pushes_add_up() -> None:
    """With the mean by 2.5 M / 20 in each round, M = .03, the length of 9 normal numbers of .01."""
    whole = moves("average", pushed(100), 1.0)[:, -1].sum()
    assert whole == pytest.approx(100 * 2.5 * 0.03 / 20, rel=0.1)


@pytest.mark.parametrize("name", ["adam", "yogi"])
def test_of_each_of_these_pushes_adam_makes_a_step_of_the_rate(name: str) -> None:
    """Of steady changes Δ, far above τ, m / √v comes to 1."""
    assert moves(name, pushed(100))[:, -1].sum() == pytest.approx(100 * RATE, rel=0.15)


def test_momentum_makes_ten_pushes_of_one() -> None:
    changes = [np.ones(1), *[np.zeros(1)] * 200]
    assert moves("momentum", changes, 1.0).sum() == pytest.approx(1 / (1 - 0.9))


@pytest.mark.parametrize("lie", [1e2, 1e12])
def test_after_one_lie_that_is_not_clipped_adams_steps_are_short_until_v_has_decayed(lie: float) -> None:
    """√v is √(1 - β₂) · lie after it, and the changes of the others Δ: it takes n rounds with
    β₂^(n / 2) = Δ / (√(1 - β₂) · lie)."""
    change = 0.1
    rounds = round(2 * math.log(math.sqrt(1 - B2) * lie / change) / -math.log(B2))
    steps = moves("adam", [np.full(1, lie), *[np.full(1, change)] * (rounds + 300)])[:, 0] / RATE
    assert steps[rounds // 2] < 0.2
    assert steps[-1] > 0.5


@pytest.mark.parametrize("name", ["yogi", "adagrad"])
def test_the_others_never_take_usual_steps_again(name: str) -> None:
    """`yogi` takes (1 - β₂) Δ² from v in a round, which is 10⁻⁶ of it where the lie was a thousand times as
    far; `adagrad` takes nothing."""
    steps = moves(name, [np.full(1, 1e2), *[np.full(1, 0.1)] * 5_000])[:, 0] / RATE
    assert steps[-1] < 0.011
