"""What one liar of twenty does in many rounds to algorithms whose server keeps a sum over all of them.

The devices have f_i(w) = ½ ‖w - b_i‖² and batches with noise. Their steps are written here for all of them at
once; bounds, control vector and server optimizer are the real ones. The liar pushes the same way each time.
"""

import numpy as np
import pytest

from fedge.algorithms.local.scaffold import Scaffold
from fedge.algorithms.rules.bounds import Factors, bounds
from fedge.algorithms.server.dyn import Dyn

DEVICES, SIZE, STEPS, RATE, ALPHA, NOISE = 20, 10, 10, 0.05, 0.1, 0.3
USUAL = Factors()
PUSH = np.full(SIZE, 1e9)
OPTIMA = np.random.default_rng(0).normal(size=(DEVICES, SIZE))


def mean(sent: np.ndarray, factors: Factors) -> np.ndarray:
    """The uniform mean of the vectors, each within the bounds."""
    found = bounds(np.linalg.norm(sent, axis=1).tolist(), [1] * DEVICES, factors)
    return (sent * np.array(found.scales)[:, None]).mean(axis=0)


def distances(
    local: str,
    rounds: int,
    noise: float = NOISE,
    *,
    optima: np.ndarray = OPTIMA,
    lies: bool = True,
    factors: Factors = USUAL,
    alpha: float = ALPHA,
) -> list[float]:
    """How far the model is after each round from the optimum of the honest: of the nineteen, if one lies."""
    goal = optima[1:].mean(axis=0) if lies else optima.mean(axis=0)

    def counted(sent: np.ndarray) -> np.ndarray:
        return mean(np.vstack([PUSH, sent[1:]]) if lies else sent, factors)

    rng, w, server = np.random.default_rng(1), np.zeros(SIZE), Dyn()
    control, state = np.zeros(SIZE), server.init(SIZE)
    own, told = np.zeros((DEVICES, SIZE)), []
    for _ in range(rounds):
        x = np.tile(w, (DEVICES, 1))
        for _ in range(STEPS):
            g = x - optima + noise * rng.normal(size=x.shape) - own
            g += control if local == "scaffold" else alpha * (x - w) if local == "dyn" else 0.0
            x -= RATE * g
        aggregate = w + counted(x - w)
        if local == "scaffold":
            change = (w - x) / (STEPS * RATE) - control
            own += change
            control = Scaffold().handed_on("control", control, counted(change), 1.0)
        if local == "dyn":
            own -= alpha * (x - w)
            w, state = server.step(w, aggregate, state, 1.0)
        else:
            w = aggregate
        told.append(float(np.linalg.norm(w - goal)))
    return told


@pytest.mark.parametrize(
    ("local", "least", "most"), [("sgd", 0.3, 0.5), ("dyn", 0.4, 0.7), ("scaffold", 3, 6)]
)
def test_after_a_hundred_rounds(local: str, least: float, most: float) -> None:
    assert least < distances(local, 100)[-1] < most


def test_scaffolds_distance_grows_with_each_round_by_an_eighth_of_a_usual_change() -> None:
    """At the end the usual change is that of the noise: ‖(w - w_i) / (K α) - c‖ of a device that stands
    where it was. FedAvg's distance stays."""
    told = distances("scaffold", 300)
    growth = np.diff(told[99::100])
    usual = NOISE * np.sqrt(
        2 * SIZE / STEPS
    )  # of the means of K gradients of two rounds: c_i is the last one
    assert growth / 100 == pytest.approx([2.5 * usual / DEVICES] * 2, rel=0.35)
    plain = distances("sgd", 300)
    assert plain[299] == pytest.approx(plain[99], abs=0.1)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_feddyns_distance_grows_with_each_round_by_alpha_times_what_the_liar_adds(alpha: float) -> None:
    """By 2.5 a M / (K - 1). M is the length of a change by noise alone: K steps that each shrink what was
    before by 1 - α (1 + a)."""
    told = distances("dyn", 1_000, alpha=alpha)
    shrinks = (1 - RATE * (1 + alpha)) ** 2
    usual = RATE * NOISE * np.sqrt(SIZE * (1 - shrinks**STEPS) / (1 - shrinks))
    assert (told[999] - told[499]) / 500 == pytest.approx(2.5 * alpha * usual / (DEVICES - 1), rel=0.35)


@pytest.mark.parametrize(("devices", "counts"), [(4, 100.0), (20, 2.5)])
def test_a_lie_of_one_round_stays_in_feddyn(devices: int, counts: float) -> None:
    """A device lies once, by 100 median distances, and is left out from then on. The model ends
    a / (K - 1) · ‖all that its updates counted for‖ from the others' optimum; four updates are not clipped.
    """
    optima = np.random.default_rng(0).normal(size=(devices, SIZE))
    w, server, own = np.zeros(SIZE), Dyn(), np.zeros((devices, SIZE))
    state, sum_of_it = server.init(SIZE), np.zeros(SIZE)
    for number in range(300):
        x = np.tile(w, (devices, 1))
        for _ in range(STEPS):
            x -= RATE * (x - optima - own + ALPHA * (x - w))
        own -= ALPHA * (x - w)
        sent = (x - w)[0 if number <= 5 else 1 :]
        norms = np.linalg.norm(sent, axis=1)
        if number == 5:
            sent[0] = 100 * np.sort(norms)[(devices - 1) // 2] / np.sqrt(SIZE)
            norms[0] = np.linalg.norm(sent[0])
        found = bounds(norms.tolist(), [1] * len(sent), USUAL)
        sent = sent * np.array(found.scales)[:, None]
        if number <= 5:
            sum_of_it += sent[0]
        if number == 5:
            assert np.linalg.norm(sent[0]) == pytest.approx(counts * found.median_norm)
        w, state = server.step(w, w + sent.mean(axis=0), state, len(sent) / devices)
    ends = np.linalg.norm(w - optima[1:].mean(axis=0))
    assert ends == pytest.approx(ALPHA * np.linalg.norm(sum_of_it) / (devices - 1), rel=1e-3)


def test_without_noise_nothing_adds_up() -> None:
    for local in ("sgd", "dyn", "scaffold"):
        told = distances(local, 200, noise=0.0)
        assert told[199] == pytest.approx(told[99], abs=0.01)
        assert told[199] < 0.6


@pytest.mark.parametrize("local", ["scaffold", "dyn"])
def test_what_is_clipped_of_an_honest_device_stays_missing(local: str) -> None:
    """One device's optimum is six times as far away. Without the bound both end at the fleet's optimum."""
    optima = OPTIMA.copy()
    optima[5] *= 6
    ends = {
        clip: distances(local, 300, 0.0, optima=optima, lies=False, factors=Factors(clip_norm=clip))[-1]
        for clip in (0.0, 2.5)
    }
    plain = distances("sgd", 300, 0.0, optima=optima, lies=False)[-1]
    assert ends[0.0] < 1e-6
    assert ends[2.5] == pytest.approx(plain, rel=0.2)
    assert plain > 0.3
