"""Known answers of the accountant, the search for noise, and what it refuses."""

import math
import sys
from dataclasses import replace

import pytest

from fedge.errors import ConfigError
from fedge.privacy.accountant import Guarantee, Shares, Training, guarantee, multiplier_for
from fedge.privacy.compositions import loss_distribution

DELTA = 1e-5


def epsilon(training: Training, delta: float = DELTA) -> float:
    return guarantee(training, delta).epsilon


def delta_of(epsilon: float, mu: float) -> float:
    """Balle and Wang 2018, Theorem 8: δ of the Gaussian mechanism, μ = Δ / σ."""

    def below(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    return below(mu / 2 - epsilon / mu) - math.exp(epsilon) * below(-mu / 2 - epsilon / mu)


# Known answers: dp-accounting 0.6.0's own, and the exact ones


@pytest.mark.parametrize(("z", "rounds"), [(1.0, 1), (4.0, 50), (6.0, 100), (0.5, 1)])
def test_normal_noise_without_sampling_is_exact(z: float, rounds: int) -> None:
    found = epsilon(Training(z, rounds, "normal"))
    assert delta_of(found, math.sqrt(rounds) / z) == pytest.approx(DELTA, rel=1e-6)


@pytest.mark.parametrize(
    ("z", "rounds", "known"), [(1.0, 1, 4.377178096), (4.0, 50, 8.595866), (6.0, 100, 8.00369)]
)
def test_the_exact_values_are_the_known_ones(z: float, rounds: int, known: float) -> None:
    assert epsilon(Training(z, rounds, "normal")) == pytest.approx(known, abs=1e-5)


@pytest.mark.parametrize(
    ("q", "z", "rounds", "loss_distribution"),
    [(0.01, 1.1, 1000, 1.515370248), (0.1, 1.0, 200, 9.971275), (0.2, 2.0, 60, 3.832162)],
)
def test_samples_with_normal_noise(q: float, z: float, rounds: int, loss_distribution: float) -> None:
    found = guarantee(Training(z, rounds, "normal", rate=q, sampling="secret"), DELTA)
    assert found.epsilon == pytest.approx(loss_distribution, abs=1e-5)
    assert found.training.composition == "PLD"


def test_one_in_anothers_place_with_a_sample() -> None:
    found = epsilon(Training(1.1, 1000, "normal", "replace-one", 0.01, sampling="secret"))
    assert found == pytest.approx(2.477805, abs=1e-5)


@pytest.mark.parametrize(
    ("q", "z", "rounds", "renyi"),
    [
        (1.0, 1.0, 1, 4.728507067),
        (1.0, 4.0, 50, 9.234959),
        (0.01, 1.1, 1000, 1.711770166),
        (0.1, 1.0, 200, 11.063104),
        (0.2, 2.0, 60, 4.219138),
    ],
)
def test_discrete_noise_is_accounted_for_by_renyi_divergence(
    q: float, z: float, rounds: int, renyi: float
) -> None:
    """At whole orders only, a sampled training's ε is at most 3 % above that of all orders."""
    found = guarantee(Training(z, rounds, rate=q, sampling="secret"), DELTA)
    assert found.training.composition == "RDP"
    if q == 1:
        assert found.epsilon == pytest.approx(renyi, abs=1e-5)
    else:
        assert renyi - 1e-5 <= found.epsilon <= 1.03 * renyi


def test_renyi_divergence_by_hand() -> None:
    """Discrete noise, z = 6, T = 100: the least over α of Theorem 21 of the paper on the Rényi conversion."""
    ends = [
        100 * a / 72 + math.log1p(-1 / a) - math.log(DELTA * a) / (a - 1)
        for a in (1 + k / 10 for k in range(1, 100))
    ]
    assert epsilon(Training(6.0, 100)) == pytest.approx(min(ends), abs=1e-9)


@pytest.mark.parametrize("noise", ["discrete", "normal"])
def test_one_in_anothers_place_counts_twice(noise: str) -> None:
    one, twice = Training(2.0, 10, noise, "replace-one"), Training(1.0, 10, noise)
    assert epsilon(one) == pytest.approx(epsilon(twice), rel=1e-9)


# Sampling


@pytest.mark.parametrize("noise", ["discrete", "normal"])
def test_an_open_sample_amplifies_nothing(noise: str) -> None:
    openly = Training(2.0, 60, noise, rate=0.2)
    assert epsilon(openly) == epsilon(replace(openly, rate=1.0))
    assert epsilon(replace(openly, sampling="secret")) < 0.5 * epsilon(openly)


def test_a_sample_of_fixed_size() -> None:
    """10 of 100 devices, 200 rounds, noise of 1 over what one device in another's place changes."""
    training = Training(2.0, 200, "normal", "replace-one", 0.1, fleet=100, sampling="secret")
    assert training.composition == "RDP"
    assert epsilon(training) == pytest.approx(20.714490, abs=1e-5)


# Shares of the noise


def test_many_steps_a_share_add_nothing() -> None:
    shares = Shares(1000, 200_000, 2**20)
    assert shares.excess(1.0) == 0.0
    assert epsilon(Training(1.0, 10, shares=shares)) == epsilon(Training(1.0, 10))


def test_the_term_for_sums_by_hand() -> None:
    """3 shares of σ² = 1/2: τ = 10 (exp(-π² / 2) + exp(-2 π² / 3))."""
    shares = Shares(3, 4, 1)
    tau = shares.excess(math.sqrt(1.5))
    assert tau == pytest.approx(10 * (math.exp(-(math.pi**2) / 2) + math.exp(-2 * math.pi**2 / 3)))
    one, summed = (epsilon(Training(math.sqrt(1.5), 1, shares=each)) for each in (None, shares))
    assert one < summed
    orders = [1 + k / 10 for k in range(1, 100)]
    rho = [
        min(a / 3 + 4 * tau, a / 2 * (1 / math.sqrt(1.5) + 2 * tau) ** 2)
        + math.log1p(-1 / a)
        - math.log(DELTA * a) / (a - 1)
        for a in orders
    ]
    assert summed == pytest.approx(min(rho), abs=1e-9)


def test_the_terms_of_very_many_shares_are_bounded() -> None:
    """Of 5000 shares of σ² = 1, the sum by hand is 10 Σ exp(-2 π² k / (k + 1))."""
    exact = 10 * math.fsum(math.exp(-2 * math.pi**2 * k / (k + 1)) for k in range(1, 5000))
    found = Shares(5000, 4, 100).excess(math.sqrt(5000) / 100)
    assert exact <= found <= 1.02 * exact
    assert Shares(10**9, 4, 2**20).excess(16.0) == 0.0, "and it takes no time"


def test_a_single_share_is_one_discrete_gaussian() -> None:
    assert epsilon(Training(1.0, 5, shares=Shares(1, 10, 1000))) == epsilon(Training(1.0, 5))


def test_a_share_below_half_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 1/2 or more: choose a finer grid"):
        epsilon(Training(1.0, 1, shares=Shares(10_000, 10, 40)))


# The search


@pytest.mark.parametrize(
    "training",
    [Training(1, 200), Training(1, 200, "normal"), Training(1, 60, rate=0.2, sampling="secret")],
    ids=["discrete", "normal", "sampled"],
)
@pytest.mark.parametrize("wanted", [0.5, 4.0, 30.0])
def test_the_noise_for_a_wanted_epsilon(training: Training, wanted: float) -> None:
    z = multiplier_for(wanted, training, DELTA)
    assert epsilon(replace(training, multiplier=z)) <= wanted
    assert epsilon(replace(training, multiplier=z * (1 - 1e-5))) > wanted


def test_the_search_with_loss_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a grid ten times as coarse, which is faster; ε at z = 2 is 2.5e-5 above that of the usual grid."""
    monkeypatch.setattr(loss_distribution, "INTERVAL", 1e-3)
    training = Training(1, 60, "normal", rate=0.2, sampling="secret")
    z = multiplier_for(3.832162, training, DELTA)
    assert z == pytest.approx(2.0, rel=2e-3)
    assert epsilon(replace(training, multiplier=z)) <= 3.832162


def test_an_epsilon_that_no_noise_reaches_is_refused() -> None:
    with pytest.raises(ValueError, match="no noise multiplier"):
        multiplier_for(1e-9, Training(1, 10**6), 1e-12)


# Bad input


@pytest.mark.parametrize(
    "wrong", [{"multiplier": 0.0}, {"multiplier": math.nan}, {"rounds": 0}, {"rate": 0.0}, {"rate": 1.5}]
)
def test_a_training_out_of_range_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        Training(**{"multiplier": 1.0, "rounds": 1} | wrong)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_a_delta_out_of_range_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="delta"):
        guarantee(Training(1.0, 1), delta)


def test_what_has_no_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="shares"):
        Training(1.0, 1, "normal", shares=Shares(2, 2, 2))
    with pytest.raises(ValueError, match="fixed size"):
        Training(1.0, 1, rate=0.1, fleet=100, sampling="secret")
    with pytest.raises(ValueError, match="fleet of 0"):
        Training(1.0, 1, "normal", "replace-one", 0.1, fleet=0, sampling="secret")
    with pytest.raises(ValueError, match="replace-one"):
        epsilon(Training(1.0, 1, "discrete", "replace-one", 0.1, sampling="secret"))


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(ConfigError, match=r"pip install 'fedge\[privacy\]'"):
        guarantee(Training(1.0, 1), DELTA)


def test_it_tells_its_composition_and_adjacency() -> None:
    text = str(Guarantee(4.0, DELTA, Training(2.0, 60, rate=0.2, sampling="secret")))
    assert "ε = 4 at δ = 1e-05 (RDP, add-remove; 60 rounds, a secret sample of 0.2 in each" in text
