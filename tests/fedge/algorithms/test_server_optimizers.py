"""Each server optimizer against its equations, worked out by hand for three rounds of one weight.

The weight begins at 0, and the rounds change it by Δ: their aggregates are base + Δ. All numbers are short
binary fractions where nothing else is said, so the results are exact.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from fedge.algorithms.registry import SERVER
from fedge.testing.laws import same, same_arrays

Told = Mapping[str, Any]

# w ← w + η Δ with η = ½.
AVERAGE = ({"rate": 0.5}, (1, 2, -1), (0.5, 1.5, 1.0))

# v ← ½ v - Δ, w ← w - ½ v:
#   v = -1,              w = 0 + ½ = 0.5
#   v = -0.5 - 2 = -2.5, w = 0.5 + 1.25 = 1.75
#   v = -1.25 + 1 = -¼,  w = 1.75 + 0.125 = 1.875
MOMENTUM = ({"momentum": 0.5, "rate": 0.5}, (1, 2, -1), (0.5, 1.75, 1.875))

# m ← ½ m + ½ Δ, v ← v + Δ², w ← w + m / (√v + ¾), v begins at (¾)²:
#   m = 0.5,            v = 9/16 + 1 = (5/4)²,     w = 0.5 / 2 = 0.25
#   m = 0.25 + 1.5,     v = (5/4)² + 3² = (13/4)², w = 0.25 + 1.75 / 4 = 0.6875
#   m = 0.875 - 10.5,   v = (13/4)² + 21² = (85/4)², w = 0.6875 - 9.625 / 22 = 0.25
ADAGRAD = ({"beta1": 0.5, "rate": 1.0, "tau": 0.75}, (1, 3, -21), (0.25, 0.6875, 0.25))

# m ← ½ m + ½ Δ, v ← ½ v + ½ Δ², w ← w + 3 m / (√v + ½), v begins at (½)²:
#   m = 1.75,              v = 1/8 + 49/8 = 6.25 = 2.5², w = 3 · 1.75 / 3 = 1.75
#   m = 0.875 - 1.25,      v = 6.25,                     w = 1.75 - 3 · 0.375 / 3 = 1.375
#   m = -0.1875 - 8.75,    v = 3.125 + 153.125 = 12.5²,  w = 1.375 - 3 · 8.9375 / 13 = -0.6875
ADAM = (
    {"beta1": 0.5, "beta2": 0.5, "rate": 3.0, "tau": 0.5},
    (3.5, -2.5, -17.5),
    (1.75, 1.375, -0.6875),
)

# m ← ½ m + ½ Δ, v ← v - ¼ Δ² sign(v - Δ²), w ← w + m / (√v + τ), u = 1/32, τ = 17 u, v begins at (17 u)²:
#   Δ = 16 u: v falls to (17² - 8²) u² = (15 u)²;  m = 8 u,          w = 8 / (15 + 17) = 1/4
#   Δ = -40 u: v grows to (15² + 20²) u² = (25 u)²; m = 4 u - 20 u,  w = 1/4 - 16 / (25 + 17) = 1/4 - 8/21
#   Δ = 14 u: v falls to (25² - 7²) u² = (24 u)²;  m = -8 u + 7 u,   w = 1/4 - 8/21 - 1 / (24 + 17)
# The last two are no binary fractions.
YOGI = (
    {"beta1": 0.5, "beta2": 0.75, "rate": 1.0, "tau": 17 / 32},
    (0.5, -1.25, 0.4375),
    (0.25, 0.25 - Fraction(8, 21), 0.25 - Fraction(8, 21) - Fraction(1, 41)),
)

# u ← u - s Δ, w ← base + Δ - u, with s = ½, ¼ and 1 in the three rounds:
#   u = -½,             w = 0 + 1 + 0.5 = 1.5
#   u = -½ + ¼ = -¼,    w = 1.5 - 1 + 0.25 = 0.75
#   u = -¼ - 2 = -2.25, w = 0.75 + 2 + 2.25 = 5
DYN: tuple[Told, Sequence[float], Sequence[float]] = ({}, (1, -1, 2), (1.5, 0.75, 5.0))

BY_HAND = {
    "average": AVERAGE,
    "momentum": MOMENTUM,
    "adagrad": ADAGRAD,
    "adam": ADAM,
    "yogi": YOGI,
    "dyn": DYN,
}
SHARES = (0.5, 0.25, 1.0)


def test_each_built_in_one_is_here() -> None:
    assert set(BY_HAND) == set(SERVER.names())


@pytest.mark.parametrize("name", BY_HAND)
def test_three_rounds_are_as_by_hand(name: str) -> None:
    options, changes, expected = BY_HAND[name]
    server = SERVER.make(name, options)
    w, state = np.zeros(2, np.float32), server.init(2)
    for change, share, there in zip(changes, SHARES, expected, strict=True):
        aggregate = w + np.array([change, 0], np.float32)
        w, state = server.step(w, aggregate, state, share)
        assert float(w[0]) == pytest.approx(float(there), rel=1e-6 if name == "yogi" else 0)
        assert w[1] == 0, "each weight moves by its own changes"
        assert {array.dtype for array in state.values()} <= {np.dtype(np.float64)}


@pytest.mark.parametrize("name", BY_HAND)
def test_only_feddyn_asks_how_many_took_part(name: str) -> None:
    rng = np.random.default_rng(0)
    base, aggregate = rng.normal(size=(2, 5)).astype(np.float32)
    server = SERVER.make(name)
    few, all_ = (server.step(base, aggregate, server.init(5), share) for share in (0.1, 1.0))
    equal = same(few[0], all_[0]) and same_arrays(few[1], all_[1])
    assert equal == (name != "dyn")


@pytest.mark.parametrize("options", [{}, {"rate": 0.5}], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BY_HAND)
def test_the_next_model_has_the_type_of_the_base(name: str, dtype: Any, options: Told) -> None:
    base, aggregate = np.random.default_rng(0).normal(size=(2, 5)).astype(dtype)
    server = SERVER.make(name, {} if name == "dyn" else options)
    assert server.step(base, aggregate, server.init(5), 0.5)[0].dtype == dtype


def test_defaults_are_those_of_the_papers() -> None:
    told = {
        name: SERVER.entries()[name].options().model_dump()
        for name in ("momentum", "adagrad", "adam", "yogi")
    }
    decayed = {"rate": 0.01, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3}
    assert told == {
        "momentum": {"momentum": 0.9, "rate": 1.0},
        "adagrad": {"rate": 0.01, "beta1": 0.0, "tau": 1e-3},
        "adam": decayed,
        "yogi": decayed,
    }


def test_momentum_without_memory_is_average() -> None:
    base, aggregate = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
    momentum = SERVER.make("momentum", {"momentum": 0.0, "rate": 0.25})
    average = SERVER.make("average", {"rate": 0.25})
    made = [each.step(base, aggregate, each.init(50), 1.0)[0] for each in (momentum, average)]
    assert same(*made)


def test_the_average_with_rate_1_is_the_aggregate_itself() -> None:
    base, aggregate = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    assert SERVER.make("average").step(base, aggregate, {}, 1.0)[0] is aggregate


@pytest.mark.parametrize(
    ("name", "option", "wrong"),
    [
        *((name, "rate", wrong) for name in BY_HAND if name != "dyn" for wrong in (0.0, 10.5, float("nan"))),
        ("momentum", "momentum", 1.0),
        ("momentum", "momentum", -0.1),
        *((name, "beta1", 1.0) for name in ("adagrad", "adam", "yogi")),
        *((name, "tau", wrong) for name in ("adagrad", "adam", "yogi") for wrong in (0.0, 1.5)),
        *((name, "beta2", 1.0) for name in ("adam", "yogi")),
        ("adagrad", "beta2", 0.9),
        ("dyn", "rate", 1.0),
    ],
)
def test_an_option_out_of_its_bounds_is_refused_by_name(name: str, option: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"server '{name}': {option}: "):
        SERVER.make(name, {option: wrong})


def test_what_feddyns_server_needs() -> None:
    needs = {need.kind: (need.names, need.options) for need in SERVER.entries()["dyn"].needs}
    assert needs == {"local": (("dyn",), ()), "rule": (("mean",), (("weights", "uniform"),))}
    assert all(not SERVER.entries()[name].needs for name in BY_HAND if name != "dyn")
