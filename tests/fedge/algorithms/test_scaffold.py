"""SCAFFOLD by hand, and the four places where implementations differ from the paper."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fedge.algorithms.contribution import Contribution, order
from fedge.algorithms.local.scaffold import ENTRY
from fedge.algorithms.registry import LOCAL, RULES
from tests.fedge.algorithms.tiny import START, TWO, Array, X, Y, enough_after, equal, job, run, slope

RATE = TWO.learning_rate
DEVICES = {"a": slice(0, 1), "b": slice(1, 4)}
"""The rows of two devices: one has one, the other three."""
ZEROS = np.zeros(3)


class Sent:
    """What devices sent, as a rule reads it."""

    def __init__(self, vectors: dict[str, Array]) -> None:
        self.size = 3
        self._all = [
            Contribution(device, DEVICES[device].stop - DEVICES[device].start, vectors[device])
            for device in sorted(vectors, key=order)
        ]

    def __len__(self) -> int:
        return len(self._all)

    def lanes(self, lanes: Any = None) -> Iterator[Contribution]:
        return iter(self._all)


def rows(device: str) -> dict[str, Array]:
    return {"X": X[DEVICES[device]], "y": Y[DEVICES[device]]}


def test_two_rounds_by_hand() -> None:
    """Two devices of a fleet of three; the third takes no part, so c moves by two thirds of the mean."""
    w, c, own = START, ZEROS, {"a": ZEROS, "b": ZEROS}
    algorithm = LOCAL.make("scaffold")
    for number in (1, 2):
        ends, differences = {}, {}
        for device in DEVICES:
            data = X[DEVICES[device]], Y[DEVICES[device]]
            first = w - RATE * (slope(w, *data) + c - own[device])
            second = first - RATE * (slope(first, *data) + c - own[device])
            after = own[device] - c + (w - second) / (2 * RATE)
            state = {} if number == 1 else {"control": own[device]}
            made = run("scaffold", job(weights=w, further={"control": c}, state=state, **rows(device)))
            equal(made.vector, second)
            equal(made.state["control"], after)
            equal(made.vectors["control"], after - own[device])
            ends[device], differences[device] = second, after - own[device]
            own[device] = after
        w = (ends["a"] + ends["b"]) / 2
        mean = (differences["a"] + differences["b"]) / 2
        handed = algorithm.handed_on("control", c.astype(np.float32), mean.astype(np.float32), 2 / 3)
        c = c + 2 / 3 * mean
        np.testing.assert_allclose(handed, c, rtol=0, atol=1e-6)  # float32, of entries below 10
        np.testing.assert_allclose(c, (own["a"] + own["b"] + ZEROS) / 3, rtol=0, atol=1e-14)


def test_variates_are_zero_at_first_so_the_first_round_is_sgd() -> None:
    state = LOCAL.make("scaffold").init(3)
    assert list(state) == ["control"]
    assert (state["control"].dtype, state["control"].tolist()) == (np.float32, [0.0, 0.0, 0.0])
    made = run("scaffold", job(further={"control": ZEROS}))
    plain = run("sgd", job())
    assert made.vector.tobytes() == plain.vector.tobytes()


def test_what_travels_is_the_difference_of_the_devices_variate() -> None:
    c, before = np.array([0.1, -0.2, 0.3]), np.array([1.0, 0.5, -0.5])
    made = run("scaffold", job(further={"control": c}, state={"control": before}))
    equal(made.vectors["control"], made.state["control"] - before)
    assert np.abs(made.vectors["control"] - made.state["control"]).max() > 0.1


def test_a_round_of_few_devices_moves_the_fleets_variate_by_their_share_of_the_fleet() -> None:
    before, mean = np.array([1, -2], np.float32), np.array([0.5, 0.25], np.float32)
    found = LOCAL.make("scaffold").handed_on("control", before, mean, 0.1)
    assert found.tolist() == np.array([1.05, -1.975], np.float32).tolist()


def test_the_next_variate_is_rounded_once() -> None:
    """share · mean is 2⁻²⁴ (1 + 2⁻²⁶ - …), so 1 + that is nearer to 1 + 2⁻²³ than to 1.

    In float32 the product is 2⁻²⁴, and half of a unit is rounded to the even number, which is 1.
    """
    before, mean = np.array([1], np.float32), np.array([2.0**-24 * (1 + 2.0**-23)], np.float32)
    found = LOCAL.make("scaffold").handed_on("control", before, mean, 1 - 2.0**-23 + 2.0**-26)
    assert found.dtype == np.float32
    assert found[0] == np.float32(1 + 2**-23)


def test_each_device_counts_the_same_in_the_variate() -> None:
    """The fleet's variate is the mean of all devices' variates, although one has three times the rows."""
    made = {name: run("scaffold", job(further={"control": ZEROS}, **rows(name))) for name in DEVICES}
    need = next(need for need in ENTRY.needs if need.kind == "rule")
    assert (need.names, dict(need.options)) == (("mean",), {"weights": "uniform"})
    rule = RULES.make(need.names[0], dict(need.options))
    sent = Sent({name: each.vectors["control"].astype(np.float32) for name, each in made.items()})
    mean = rule.aggregate(sent, np.zeros(3, np.float32), {}).vector
    c = LOCAL.make("scaffold").handed_on("control", np.zeros(3, np.float32), mean, 1.0)
    expected = (made["a"].state["control"] + made["b"].state["control"]) / 2
    np.testing.assert_allclose(c, expected, rtol=0, atol=1e-6)
    by_rows = (made["a"].state["control"] + 3 * made["b"].state["control"]) / 4
    assert np.abs(by_rows - expected).max() > 0.1


def test_weight_decay_is_part_of_the_gradient_and_the_variate_is_its_mean() -> None:
    decay, c, before = 0.3, np.array([0.1, -0.2, 0.3]), np.array([1.0, 0.5, -0.5])
    plan = TWO.model_copy(update={"weight_decay": decay})
    made = run("scaffold", job(plan, further={"control": c}, state={"control": before}))
    g1 = slope(START) + decay * START
    first = START - RATE * (g1 + c - before)
    g2 = slope(first) + decay * first
    equal(made.vector, first - RATE * (g2 + c - before))
    equal(made.state["control"], (g1 + g2) / 2)


def test_momentum_is_not_for_it() -> None:
    plan = next(need for need in ENTRY.needs if need.kind == "plan")
    assert dict(plan.options) == {"momentum": 0.0}


def test_it_takes_all_its_steps() -> None:
    made = run("scaffold", job(further={"control": ZEROS}, enough=enough_after(1)))
    assert not LOCAL.make("scaffold").partial
    assert made.steps == 2


@pytest.mark.parametrize("name", ["receives", "sends"])
def test_it_receives_and_sends_a_variate(name: str) -> None:
    assert getattr(LOCAL.make("scaffold"), name) == ("control",)
