"""Each attack sends what its paper says: plain numbers that are known by hand."""

from collections.abc import Sequence
from math import erf, sqrt
from typing import Any

import numpy as np
import pytest

from fedge.algorithms.contribution import Contribution, order
from fedge.algorithms.rules.mean import finish, partial
from fedge.data.moments import Moments
from fleet.simulator.attacks.alie import largest_z
from fleet.simulator.attacks.attack import Knowledge
from fleet.simulator.attacks.min_max import largest_gamma
from fleet.simulator.attacks.registry import ATTACKS, attack
from fleet.simulator.attacks.trigger import Trigger

HONEST = ((1.0, 0.0), (3.0, 4.0), (2.0, 2.0))
"""The mean is (2, 2), the deviations with n - 1 are (1, 2), the farthest two are √(2² + 4²) apart."""
OWN = ((2.0, 1.0), (0.0, 6.0))


def known(
    own: Sequence[Sequence[float]] = OWN, honest: Sequence[Sequence[float]] | None = HONEST, seed: int = 1
) -> Knowledge:
    rows = np.array(own)
    return Knowledge(np.zeros(rows.shape[1]), rows, None if honest is None else np.array(honest), seed)


@pytest.mark.parametrize(
    ("told", "sent"),
    [
        ("sign-flip", ((-2.0, -1.0), (0.0, -6.0))),
        ({"name": "sign-flip", "strength": 4.0}, ((-8.0, -4.0), (0.0, -24.0))),
        ("ipm", ((-1.0, -1.0), (-1.0, -1.0))),
        ({"name": "ipm", "epsilon": 100.0}, ((-200.0, -200.0),) * 2),
        ({"name": "alie", "z": 1.5}, ((3.5, 5.0), (3.5, 5.0))),
        ({"name": "mimic", "device": 1}, ((3.0, 4.0), (3.0, 4.0))),
        ("inflation", ((-2.0, -1.0), (0.0, -6.0))),
        ("sybil", ((-2.0, -1.0), (-2.0, -1.0))),
        ({"name": "sybil", "of": "inflation"}, ((-2.0, -1.0), (-2.0, -1.0))),
        ({"name": "backdoor-pixels", "boost": 7.0}, ((14.0, 7.0), (0.0, 42.0))),
        ({"name": "backdoor-channels", "boost": 7.0}, ((14.0, 7.0), (0.0, 42.0))),
        ("label-flip", OWN),
        ("survey-poisoning", OWN),
    ],
    ids=str,
)
def test_what_the_attackers_send(told: str | dict[str, Any], sent: Sequence[Sequence[float]]) -> None:
    assert attack(told).changes(known(), {}).changes.tolist() == [list(row) for row in sent]


def test_what_changes_is_not_what_was_given() -> None:
    """Whoever keeps the honest changes must find them unchanged."""
    for name in ATTACKS.names():
        given = known()
        attack(name).changes(given, {})
        assert given.own.tolist() == [list(row) for row in OWN], name
        assert given.honest is not None
        assert given.honest.tolist() == [list(row) for row in HONEST], name


def test_every_attack_gives_the_same_for_the_same_seed() -> None:
    for name in ATTACKS.names():
        one, again = (attack(name).changes(known(seed=5), {}).changes for _ in range(2))
        assert one.shape == (2, 2), name
        assert one.tobytes() == again.tobytes(), name


def test_gaussian_entries_have_the_mean_and_deviation_of_the_paper() -> None:
    """Of 20,000 entries the mean has an error of 200/√20,000 = 1.4, the deviation of 1.0."""
    own = np.zeros((2, 10_000))
    sent = attack("gaussian").changes(Knowledge(own[0], own, None, 3), {}).changes
    assert abs(sent.mean()) < 5 * 200 / sqrt(20_000)
    assert abs(sent.std() - 200) < 5 * 200 / sqrt(40_000)
    assert not np.array_equal(sent[0], sent[1])


@pytest.mark.parametrize(
    ("devices", "attackers", "share"),
    [
        (50, 24, 24 / 26),  # s = 26 - 24 = 2 of 26 honest: (50 - 24 - 2)/26
        (25, 5, 12 / 20),  # s = 13 - 5 = 8 of 20
        (14, 4, 6 / 10),  # s = 8 - 4 = 4 of 10
    ],
)
def test_the_z_of_alie_is_that_of_algorithm_3(devices: int, attackers: int, share: float) -> None:
    below = 0.5 * (1 + erf(largest_z(devices, attackers) / sqrt(2)))
    assert below == pytest.approx(share, abs=1e-9)


def test_alie_of_few_devices_is_their_mean() -> None:
    """n = 12, m = 2: s = 7 - 2 = 5 of 10, so Φ(z) = 1/2."""
    assert largest_z(12, 2) == pytest.approx(0.0, abs=1e-12)
    assert largest_z(2, 2) == 0.0


def test_min_max_by_hand() -> None:
    """d = -(1, 2); x_2 is √5 from the mean along -d. So (γ + 1) √5 = √20, the largest distance, and γ = 1."""
    sent = attack("min-max").changes(known(), {}).changes
    assert sent == pytest.approx(np.array([[1.0, 0.0]] * 2), abs=1e-4)


@pytest.mark.parametrize("direction", ["std", "unit", "sign"])
def test_min_max_is_the_largest_lie_within_the_honest(direction: str) -> None:
    """γ is the smallest positive root of ‖μ + γ d - x_i‖² = D² over all i."""
    rng = np.random.default_rng(4)
    rows = rng.normal(1.0, 2.0, (9, 30))
    seen = Knowledge(np.zeros(30), rows[:1], rows, 0)
    lie = attack({"name": "min-max", "direction": direction}).changes(seen, {}).changes[0]
    most = max(float(np.linalg.norm(a - b)) for a in rows for b in rows)
    nearest = max(float(np.linalg.norm(lie - row)) for row in rows)
    assert 0.9999 * most < nearest <= most * (1 + 1e-12)
    mean = rows.mean(axis=0)
    along = {"std": -rows.std(axis=0, ddof=1), "unit": -mean / np.linalg.norm(mean), "sign": -np.sign(mean)}
    gamma = largest_gamma(rows, mean, along[direction])
    assert lie == pytest.approx(mean + gamma * along[direction])
    d, off = along[direction], mean - rows
    a, b = float(d @ d), off @ d
    roots = (-b + np.sqrt(b * b - a * (np.einsum("ij,ij->i", off, off) - most * most))) / a
    assert gamma == pytest.approx(float(roots.min()), rel=2e-5)


def test_min_max_of_equal_updates_is_their_mean() -> None:
    sent = attack("min-max").changes(known(honest=((1.0, 2.0),) * 3), {}).changes
    assert sent.tolist() == [[1.0, 2.0], [1.0, 2.0]]


def test_mimic_finds_the_device_that_stands_out_and_stays_with_it() -> None:
    """Device 2 varies along the first axis by 10, all others by .1; later another one stands out."""
    mimic, state, rng = attack({"name": "mimic", "warmup": 30}), {}, np.random.default_rng(1)
    chosen = []
    for number in range(60):
        rows = rng.normal(0.0, 0.1, (5, 8))
        rows[2 if number < 30 else 4, 0] += 10.0
        sent = mimic.changes(Knowledge(np.zeros(8), np.zeros((2, 8)), rows, number), state)
        state = dict(sent.state)
        chosen.append(int(np.flatnonzero((rows == sent.changes[0]).all(axis=1))[0]))
        assert (sent.changes[0] == sent.changes[1]).all()
    assert set(chosen[5:]) == {2}
    assert int(state["round"]) == 30, "nothing is estimated after the first rounds"


def test_mimic_begins_anew_with_other_devices() -> None:
    mimic = attack("mimic")
    state = mimic.changes(known(), {}).state
    sent = mimic.changes(known(honest=((5.0, 0.0), (0.0, 1.0))), state)
    assert len(sent.state["along"]) == 2
    assert int(sent.state["round"]) == 1


def test_without_knowledge_of_the_honest_the_attackers_take_their_own_updates() -> None:
    """The mean of (2, 1) and (0, 6) is (1, 3.5)."""
    assert attack("ipm").changes(known(honest=None), {}).changes.tolist() == [[-0.5, -1.75]] * 2


def test_label_flip_exchanges_the_first_class_and_the_last() -> None:
    X, y = np.zeros((4, 2)), np.array([0, 1, 9, 4])
    found = attack("label-flip").rows(X, y, 10, 0)
    assert found[1].tolist() == [9, 8, 0, 5]
    assert y.tolist() == [0, 1, 9, 4]


def test_the_pixel_trigger_is_a_bright_square_in_the_corner() -> None:
    told = {"name": "backdoor-pixels", "value": 255.0, "target": 7, "share": 0.5, "width": 4, "side": 2}
    X, y = np.arange(80.0).reshape(5, 16), np.array([1, 2, 3, 4, 5])
    found, labels = attack(told).rows(X, y, 10, 3)
    marked = np.flatnonzero(labels == 7)
    assert len(marked) == 2, "half of five rows, rounded to an even number"
    assert (found[marked][:, [0, 1, 4, 5]] == 255.0).all()
    others = np.setdiff1d(np.arange(5), marked)
    assert (found[others] == X[others]).all()
    assert (labels[others] == y[others]).all()
    assert X[0, 0] == 0.0, "the given rows are as they were"
    rest = [column for column in range(16) if column not in (0, 1, 4, 5)]
    assert (found[:, rest] == X[:, rest]).all()


def test_the_channel_trigger_is_a_value_in_some_columns() -> None:
    told = {"name": "backdoor-channels", "columns": [0, 2], "value": -1.0, "target": 1, "share": 1.0}
    found, labels = attack(told).rows(np.ones((2, 3)), np.array([0, 0]), 2, 0)
    assert found.tolist() == [[-1.0, 1.0, -1.0]] * 2
    assert labels.tolist() == [1, 1]


def test_a_backdoor_succeeds_on_rows_of_other_classes() -> None:
    """Of the rows of the classes 0, 0, 2 two are predicted as 1; the row of class 1 does not count."""
    trigger = Trigger((0,), 9.0, 1)
    assert trigger.success([1, 0, 1, 1], np.array([0, 0, 1, 2])) == pytest.approx(2 / 3)
    assert trigger.success([1], np.array([1])) == 0.0


def test_inflation_tells_the_most_rows_that_are_admitted() -> None:
    assert attack("inflation").samples(40) == 1_000_000
    assert attack({"name": "sybil", "of": "inflation"}).samples(40) == 1_000_000
    assert attack("alie").samples(40) == 40


def test_survey_poisoning_moves_means_and_stretches_spreads() -> None:
    """A column of 4 values with the mean 2 and the sum of squares 36 has a spread of 3."""
    told = {"name": "survey-poisoning", "shift": 10.0, "stretch": 5.0}
    found = attack(told).survey(Moments(np.array([4.0, 0.0]), np.array([2.0, 0.0]), np.array([36.0, 0.0])))
    assert found.mean.tolist() == [32.0, 0.0]
    assert found.m2.tolist() == [900.0, 0.0]
    assert found.count.tolist() == [4.0, 0.0]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("nothing", "unknown attack 'nothing'; known: alie, backdoor-channels"),
        ({"z": 1.0}, "expected a name or a table with `name`"),
        ({"name": "ipm", "epsilon": 0.0}, "attack 'ipm': epsilon"),
        ({"name": "ipm", "z": 1.0}, "unknown option; accepted: epsilon"),
        ({"name": "sybil", "of": "sybil"}, "name another one"),
    ],
)
def test_a_wrong_attack_is_refused_with_the_reason(told: str | dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        attack(told)


def test_wrong_data_and_wrong_devices_are_refused_with_the_reason() -> None:
    rows, labels = np.zeros((2, 3)), np.zeros(2, int)
    with pytest.raises(ValueError, match="a trigger in column 4: rows have the columns 0 to 2"):
        attack({"name": "backdoor-channels", "columns": [4]}).rows(rows, labels, 2, 0)
    with pytest.raises(ValueError, match="a trigger for class 2: the classes are 0 to 1"):
        attack({"name": "backdoor-channels", "target": 2}).rows(rows, labels, 2, 0)
    with pytest.raises(ValueError, match="device is 3, and there are 3 honest ones"):
        attack({"name": "mimic", "device": 3}).changes(known(), {})
    with pytest.raises(ValueError, match=r"honest is of shape \(1, 3\)"):
        known(honest=((1.0, 2.0, 3.0),))


def test_one_liar_turns_the_plain_mean() -> None:
    """The attack is one only if it harms: of ten honest (1, 1) and two IPM with ε = 100 the mean is -15.8."""
    sent = attack({"name": "ipm", "epsilon": 100.0})
    honest = np.ones((10, 2))
    lies = sent.changes(Knowledge(np.zeros(2), honest[:2], honest, 0), {}).changes
    every = {f"d{number}": row for number, row in enumerate(np.vstack((honest, lies)))}
    mean, _ = finish(partial(Contribution(name, 1, every[name]) for name in sorted(every, key=order)))
    assert mean == pytest.approx(np.full(2, -190 / 12), rel=1e-6)
