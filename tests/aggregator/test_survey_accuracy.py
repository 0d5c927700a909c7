"""What a survey by medians costs an honest fleet, and what one liar or one broken sensor of twenty does to
it."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from agent.data.dataset import Dataset
from aggregator.aggregation.survey import Measured, outliers, standardize
from fedge.data.moments import Moments, measure
from fedge.nn.spec import Dense, NetworkSpec, ReLU
from fedge.wire.messages.task import Task
from tests.aggregator.learning import Learner, claims, stations, told, watch

POINTS = 0.02


def in_one_place(learner: Learner) -> dict[str, Measured]:
    """The moments of all samples together: what would be measured if all data lay in one place."""
    X = np.concatenate([data.X for data in learner.fleet.values()])
    y = np.concatenate([data.y for data in learner.fleet.values()])
    return {"all": Measured(measure(X), measure(y) if learner.task.targets else None)}


@cache
def honest(columns: str = "") -> tuple[Learner, dict[str, Measured], float]:
    """The watch's devices without the first one, what they tell, and how well they learn from that."""
    everybody = one_hot(watch()) if columns else watch()
    _, *devices = sorted(everybody.fleet)
    learner = Learner(everybody.task, {device: everybody.fleet[device] for device in devices})
    surveys = learner.surveys()
    return learner, surveys, learner.accuracy(surveys)


@cache
def warm() -> tuple[Learner, dict[str, Measured], float]:
    """The rooms, what they tell, and how far off they are from that."""
    learner = heat()
    surveys = learner.surveys()
    return learner, surveys, learner.loss(surveys)


def requires_no_less(learner: Learner) -> None:
    surveys = learner.surveys()
    found = learner.accuracy(surveys)
    assert found >= learner.accuracy(surveys, "survey/1") - POINTS
    assert found >= learner.accuracy(in_one_place(learner), "survey/1") - POINTS


# ── an honest fleet ────────────────────────────────────────────────────────────────────────────────


def test_an_honest_fleet_learns_as_well_as_from_the_moments_of_all_samples() -> None:
    requires_no_less(watch())


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0])
def test_twelve_stations_at_different_levels_lose_nothing(distance: float) -> None:
    requires_no_less(stations(12, distance))


def test_a_third_of_the_stations_on_a_mountain_lose_nothing() -> None:
    learner = stations(12, 0.0)
    moved = {
        device: replace(data, X=data.X + shift, held_X=data.held_X + shift)
        for k, (device, data) in enumerate(learner.fleet.items())
        for shift in [np.float32([-3.0, -60.0, 0.03]) * (k % 3 == 0)]
    }
    requires_no_less(Learner(learner.task, moved))


def one_hot(learner: Learner) -> Learner:
    """Further columns: which device it is; and the parts of a day, of which two each see one that is rare."""
    rng = np.random.default_rng(7)
    devices = sorted(learner.fleet)

    def bits(rows: int, k: int) -> np.ndarray:
        mine = np.zeros((rows, len(devices)))
        mine[:, k] = 1
        parts = np.zeros((rows, 1 + len(devices) // 2))
        rare = rng.random(rows) < 0.3
        parts[~rare, 0] = 1
        parts[rare, 1 + k // 2] = 1
        return np.hstack((mine, parts))

    more = {
        device: (bits(len(data.X), k), bits(len(data.held_X), k))
        for k, (device, data) in enumerate((device, learner.fleet[device]) for device in devices)
    }
    names = (*(f"is-{device}" for device in devices), *(f"part-{k}" for k in range(1 + len(devices) // 2)))
    return learner.with_columns(names, more)


def test_one_hot_columns_lose_nothing() -> None:
    requires_no_less(one_hot(watch()))


def test_the_targets_of_a_regression_lose_nothing() -> None:
    learner = heat()
    surveys = learner.surveys()
    assert learner.loss(surveys) <= 1.1 * learner.loss(surveys, "survey/1")
    assert learner.loss(surveys) <= 1.1 * learner.loss(in_one_place(learner), "survey/1")


def heat(devices: int = 12) -> Learner:
    """A regression: heat in a room, of its level outside, the sun and the hour."""
    rng = np.random.default_rng(11)
    fleet = {}
    for k in range(devices):
        outside, sun, hour = rng.normal(10 + k / 2, 6, 120), rng.uniform(0, 800, 120), rng.uniform(0, 24, 120)
        X = np.stack((outside, sun, hour), axis=1).astype(np.float32)
        y = 18 + 0.3 * outside + 0.004 * sun + np.sin(hour / 24 * 2 * np.pi) + rng.normal(0, 0.3, 120)
        y = y.astype(np.float32).reshape(-1, 1)
        fleet[f"room-{k:02}"] = Dataset(X[:90], y[:90], X[90:], y[90:])
    network = NetworkSpec(inputs=3, layers=(Dense(units=16), ReLU(), Dense(units=1)), loss="mse")
    return Learner(Task(network=network, features=("outside", "sun", "hour"), targets=("heat",)), fleet)


# ── one of twenty ──────────────────────────────────────────────────────────────────────────────────

LIAR = "liar"
LIES = {
    "mean +1e30": (1e30, 0.0, 20.0),
    "mean -1e30, wide": (-1e30, 1e62, 100.0),
    "M2 of 0 everywhere": (0.0, 0.0, 1e6),
    "as wide as may be": (0.0, 1e66, 1e6),
    "narrow": (0.0, 1e-16, 100.0),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_liar_of_twenty_does_not_change_how_well_the_others_learn(lie: str) -> None:
    (learner, surveys, usual), (mean, m2, count) = honest(), LIES[lie]
    lied = {**surveys, LIAR: Measured(claims(len(learner.task.features), mean, m2, count), None)}
    assert learner.accuracy(lied) >= usual - POINTS
    if abs(mean) == 1e30 or m2 > 1e60:
        assert learner.accuracy(lied, "survey/1") < 0.5  # what the rule of before made of it


def broken(X: np.ndarray, kind: str) -> np.ndarray:
    match kind:
        case "constant":
            return np.full_like(X, 7.0)
        case "stuck":
            return np.repeat(X[:1], len(X), axis=0)
        case "sentinel":
            return np.full_like(X, -99_999.0)
        case "now and then -99999":
            return np.where(np.arange(len(X))[:, None] % 3 == 0, np.float32(-99_999), X)
        case "× 1000":
            return X * np.float32(1000)
        case _:
            return np.full_like(X, np.nan)


KINDS = ["constant", "stuck", "sentinel", "now and then -99999", "× 1000", "missing"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_sensor_of_twenty_does_not_change_how_well_the_others_learn_and_is_named(kind: str) -> None:
    learner, surveys, usual = honest()
    (bad,) = watch().fleet.keys() - learner.fleet.keys()
    faulty = {**surveys, bad: Measured(told(broken(watch().fleet[bad].X, kind)), None)}
    assert learner.accuracy(faulty) >= usual - POINTS
    task = standardize(learner.task, faulty)
    assert isinstance(task, Task)
    assert bad in {one.device for one in outliers(task, faulty)}


def test_an_honest_fleet_is_not_named() -> None:
    learner = watch()
    task = standardize(learner.task, learner.surveys())
    assert isinstance(task, Task)
    assert outliers(task, learner.surveys()) == ()


@pytest.mark.parametrize("lie", LIES)
def test_a_liar_of_twelve_does_not_change_what_a_regression_learns(lie: str) -> None:
    (learner, surveys, usual), (mean, m2, count) = warm(), LIES[lie]
    liar = Measured(claims(3, mean, m2, count), claims(1, mean, m2, count))
    assert learner.loss({**surveys, LIAR: liar}) <= 1.1 * usual


@pytest.mark.parametrize("lie", LIES)
def test_a_liar_does_not_take_rare_bits_of_a_one_hot_code_away(lie: str) -> None:
    """Of the twenty devices the liar is one of two that see its bit."""
    (learner, surveys, usual), (mean, m2, count) = honest("one-hot"), LIES[lie]
    lied = {**surveys, LIAR: Measured(claims(len(learner.task.features), mean, m2, count), None)}
    assert learner.accuracy(lied) >= usual - POINTS


# ── missing values ─────────────────────────────────────────────────────────────────────────────────


def test_values_are_filled_with_what_the_others_measure_and_not_with_what_one_says() -> None:
    """A missing feature is filled with the mean of the frozen layer."""
    learner = watch()
    surveys = learner.surveys()
    honest = standardize(learner.task, surveys)
    assert isinstance(honest, Task)
    lied = standardize(
        learner.task, {**surveys, "liar": Measured(claims(len(honest.features), 1e30, 0), None)}
    )
    assert isinstance(lied, Task)
    before, after = honest.network.layers[0], lied.network.layers[0]
    moved = np.abs(after.means - before.means) / before.scales  # type: ignore[union-attr]
    assert moved.max() <= 0.5


def test_moments_of_a_device_with_a_fault_now_and_then_are_those_of_its_good_values() -> None:
    X = watch().fleet[sorted(watch().fleet)[0]].X
    wrong = X.copy()
    wrong[50] = -99_999
    good, found = told(X), told(wrong)
    spread = np.sqrt(good.m2 / good.count)
    assert isinstance(good, Moments)
    assert (np.abs(found.mean - good.mean) <= 0.5 * spread).all()
