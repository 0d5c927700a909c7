"""Robust rules: the laws with slow twins and options, known answers, blocks, and what f liars can do."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedge.algorithms.contribution import order
from fedge.algorithms.protocols import Combined
from fedge.algorithms.registry import RULES
from fedge.algorithms.rules import rows as rows_module
from fedge.algorithms.rules.bounds import distance
from fedge.algorithms.rules.centered_clipping import CENTER
from fedge.algorithms.rules.rows import Read, distances
from fedge.testing import BrokenLaw, check_rule
from fedge.testing.rule import SomeUpdates
from tests.fedge.algorithms.robust_twins import WAYS, twin

Array = Any
ABSOLUTE = ("centered-clipping", "norm-bound")
"""Those that shorten to an absolute length, so that one update alone is not the result."""


SEVEN = [[0], [3], [3], [3], [3], [6], [100]]


def updates(matrix: Array, samples: Sequence[int] | None = None) -> SomeUpdates:
    matrix = np.asarray(matrix, np.float32)
    made = {f"pi-{k}": (row.copy, 1 if samples is None else samples[k]) for k, row in enumerate(matrix)}
    return SomeUpdates(made, matrix.shape[1])


def combined(name: str, matrix: Array, base: Array | None = None, **options: Any) -> Combined:
    rule, matrix = RULES.make(name, options), np.asarray(matrix, np.float32)
    base = np.zeros(matrix.shape[1], np.float32) if base is None else base
    return rule.aggregate(updates(matrix), base, rule.init(len(base)))


def result(name: str, matrix: Array, **options: Any) -> Array:
    return combined(name, matrix, **options).vector.astype(np.float64)


OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("median", {"pre": "nnm"}),
    ("trimmed-mean", {"f": 3, "pre": "bucketing"}),
    ("krum", {"f": 4, "pre": "bucketing", "bucket": 3}),
    ("multi-krum", {"f": 0}),
    ("bulyan", {"f": 2}),
    ("geometric-median", {"f": 2, "pre": "bucketing", "steps": 3}),
    ("centered-clipping", {"radius": 0.5, "iterations": 3, "pre": "bucketing"}),
)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_each_keeps_the_laws_and_agrees_with_its_twin(name: str, options: dict[str, Any]) -> None:
    check_rule(
        RULES.entries()[name],
        options,
        twin=twin(name, **options),
        between=name not in ABSOLUTE,
        order=options.get("pre") != "bucketing",
    )


def test_a_twin_with_another_f_is_none() -> None:
    for name in ("trimmed-mean", "multi-krum", "bulyan"):
        with pytest.raises(BrokenLaw) as caught:
            check_rule(RULES.entries()[name], {"f": 2}, twin=twin(name, f=1))
        assert caught.value.law == "twin"


def test_known_answers() -> None:
    """Those of byzfl 0.0.11."""
    assert result("trimmed-mean", [[1], [2], [3], [100]], f=1) == [2.5]
    assert result("median", [[1], [2], [3], [100]]) == [2.5]
    five = [[1], [1.1], [1.2], [100], [101]]
    assert result("krum", five, f=1) == pytest.approx([1.2])
    assert result("krum", five, f=2) == pytest.approx([1.1])
    assert result("multi-krum", five, f=1) == pytest.approx([25.825])
    # Krum leaves out 100, and one of 0 and 6, which are equally good. The median of the others is 3.
    assert result("bulyan", SEVEN, f=1) == [3.0]


def test_the_parts_that_counted() -> None:
    matrix = [[1, 9], [2, 2], [3, 1], [100, 1.5]]
    counted = combined("trimmed-mean", matrix, f=1).counted
    assert counted == {"pi-0": 0.0, "pi-1": 1.0, "pi-2": 0.5, "pi-3": 0.5}
    assert combined("median", [[1, 5], [2, 4], [3, 6]]).counted == {"pi-0": 0.5, "pi-1": 0.5, "pi-2": 0.0}
    five = [[1], [1.1], [1.2], [100], [101]]
    assert set(combined("krum", five, f=2).counted.items()) == {
        ("pi-0", 0.0),
        ("pi-1", 1.0),
        ("pi-2", 0.0),
        ("pi-3", 0.0),
        ("pi-4", 0.0),
    }
    assert combined("multi-krum", five, f=2).counted["pi-2"] == 1.0
    counted = combined("bulyan", SEVEN, f=1).counted
    assert [counted[f"pi-{k}"] for k in range(7)] == [0, 1, 1, 1, 1, 0, 0]
    shortened = combined("norm-bound", [[3, 4], [0.3, 0.4]], length=1.0)
    assert [shortened.counted[f"pi-{k}"] for k in (0, 1)] == [1 / 5, 1.0]
    assert shortened.vector == pytest.approx([(0.6 + 0.3) / 2, (0.8 + 0.4) / 2])
    near = combined("geometric-median", [[0], [1], [2], [1000]], f=1).counted
    assert near["pi-3"] < 0.01 < max(near.values()) == 1.0


def test_what_counted_of_mixed_updates_is_told_by_device() -> None:
    matrix = [[0.0], [1.0], [2.0], [3.0], [500.0]]
    counted = combined("krum", matrix, f=1, pre="nnm").counted
    assert counted.keys() == {f"pi-{k}" for k in range(5)}
    assert counted["pi-4"] == 0.0
    assert max(counted.values()) == 1.0


@pytest.mark.parametrize(
    ("name", "options", "fewest"),
    [
        ("median", {"f": 2}, 5),
        ("trimmed-mean", {"f": 2}, 5),
        ("krum", {"f": 2}, 7),
        ("multi-krum", {"f": 2}, 7),
        ("bulyan", {"f": 2}, 11),
        ("geometric-median", {"f": 2}, 5),
        ("centered-clipping", {"f": 2}, 5),
        ("norm-bound", {"f": 0}, 1),
        ("krum", {"f": 2, "pre": "nnm"}, 7),
        ("krum", {"f": 2, "pre": "bucketing", "bucket": 3}, 19),
    ],
)
def test_the_fewest_updates(name: str, options: dict[str, Any], fewest: int) -> None:
    rule = RULES.make(name, options)
    assert rule.fewest == fewest
    if options.get("pre") == "bucketing":
        size = options["bucket"]
        assert ceil(fewest / size) == 7 > ceil((fewest - 1) / size), "so many buckets, and no fewer"


def test_of_fewer_updates_than_that_a_vector_is_made_all_the_same() -> None:
    for name in WAYS:
        for pre in ("none", "nnm", "bucketing"):
            for number in (1, 2, 3, 4, 6):
                matrix = np.arange(2.0 * number).reshape(number, 2)
                assert np.isfinite(result(name, matrix, f=1000, pre=pre)).all(), (name, pre, number)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("median", {"f": -1}),
        ("krum", {"f": 1.5}),
        ("bulyan", {"pre": "sorting"}),
        ("norm-bound", {"length": 0.0}),
    ],
)
def test_a_wrong_option_is_named(name: str, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        RULES.make(name, given)


@pytest.mark.parametrize("name", WAYS)
def test_the_number_of_passes_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A buffer that holds 1024 coordinates at a time makes the result that a larger one makes."""
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(9, 5000))
    whole = combined(name, matrix, pre="nnm")
    passes = 0
    read = Read._read

    def counted(self: Read, start: int) -> None:
        nonlocal passes
        passes += 1
        read(self, start)

    monkeypatch.setattr(Read, "_read", counted)
    combined(name, matrix, pre="nnm")
    assert passes == 1, "a small round is read once"
    monkeypatch.setattr(rows_module, "BUFFER", 1)
    parts = combined(name, matrix, pre="nnm")
    assert passes > 10
    assert parts.vector.tobytes() == whole.vector.tobytes()
    assert parts.counted == whole.counted


def test_rows_are_as_far_as_distance_says() -> None:
    rng = np.random.default_rng(4)
    matrix, point = rng.normal(size=(5, 3000)), rng.normal(size=3000)
    found = distances(Read(updates(matrix)), point)
    names = sorted((f"pi-{k}" for k in range(5)), key=order)
    rows = [np.asarray(matrix[int(name[3:])], np.float32) for name in names]
    assert found == pytest.approx([distance(point, row) for row in rows], rel=1e-12)


def test_ties_do_not_depend_on_names() -> None:
    """Four corners of a square: all scores of Krum are the same, whoever sent which corner."""
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float32)
    for name in ("krum", "multi-krum"):
        found = {result(name, np.roll(corners, shift, axis=0), f=1).tobytes() for shift in range(4)}
        assert len(found) == 1


def test_the_base_draws_the_buckets() -> None:
    matrix = np.arange(12.0).reshape(6, 2)
    bases = [np.full(2, value, np.float32) for value in range(8)]
    found = [combined("median", matrix, base, pre="bucketing").vector.tobytes() for base in bases]
    again = [combined("median", matrix, base, pre="bucketing").vector.tobytes() for base in bases]
    assert found == again
    assert len(set(found)) > 2


HUGE = 1e6
Bound = Callable[[Array, Array, int], float]


def spread(honest: Array) -> float:
    """Σ ‖x_i - x̄‖² / |S| of the honest updates."""
    return float(((honest - honest.mean(axis=0)) ** 2).sum(axis=1).mean())


KAPPA: dict[str, Callable[[float], float]] = {
    "median": lambda q: 4 * (1 + q) ** 2,
    "trimmed-mean": lambda q: 6 * q * (1 + q),
    "krum": lambda q: 6 * (1 + q),
    "multi-krum": lambda q: 6 * (1 + q),
}
"""κ by q = f / (n - 2 f)."""


@st.composite
def rounds(draw: st.DrawFn, needed: Callable[[int], int] = lambda f: 2 * f + 1) -> tuple[Array, int]:
    """A round of honest updates, and f liars who send the worst extremes, or what hides among the honest."""
    f = draw(st.integers(1, 3))
    n = draw(st.integers(needed(f), needed(f) + 6))
    p = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    honest = rng.normal(rng.normal(size=p), draw(st.sampled_from([0.01, 1.0, 30.0])), (n - f, p))
    way = draw(st.sampled_from(["one end", "both ends", "one coordinate", "edge", "mirror"]))
    lies = np.empty((f, p))
    for k in range(f):
        match way:
            case "one end":
                lies[k] = HUGE
            case "both ends":
                lies[k] = HUGE * (-1) ** k
            case "one coordinate":
                lies[k] = honest[0]
                lies[k, 0] = -HUGE
            case "edge":
                lies[k] = honest.max(axis=0)
            case _:
                lies[k] = honest.mean(axis=0) + 1.5 * honest.std(axis=0)
    return np.concatenate([honest, lies]).astype(np.float32), f


def needed_by(name: str) -> Callable[[int], int]:
    return lambda f: RULES.make(name, {"f": f}).fewest


def broken(name: str, matrix: Array, f: int, pre: str = "none", **given: Any) -> float:
    """The squared distance of a result from the honest mean, as a part of its bound; more than 1: too far."""
    n = len(matrix)
    honest = matrix[: n - f].astype(np.float64)
    kappa = KAPPA[name](f / (n - 2 * f))
    if pre == "nnm":
        kappa = 8 * f / (n - f) * (kappa + 1)
    vector = given.get("vector")
    vector = result(name, matrix, f=f, pre=pre) if vector is None else vector
    far = float(((vector - honest.mean(axis=0)) ** 2).sum())
    return far / (kappa * spread(honest) * (1 + 1e-5) + 1e-9)


@pytest.mark.parametrize("pre", ["none", "nnm"])
@pytest.mark.parametrize("name", KAPPA)
def test_f_liars_move_the_result_no_farther_than_the_honest_differ(name: str, pre: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(rounds(needed_by(name)))
    def check(drawn: tuple[Array, int]) -> None:
        assert broken(name, *drawn, pre=pre) <= 1

    check()


def test_they_move_the_mean_farther_than_any_of_these_bounds() -> None:
    matrix = np.concatenate([np.random.default_rng(0).normal(size=(8, 3)), np.full((1, 3), HUGE)])
    mean = result("mean", matrix)
    for name in KAPPA:
        for pre in ("none", "nnm"):
            assert broken(name, matrix, 1, pre, vector=mean) > 1000
    assert broken("krum", matrix, 1, vector=result("multi-krum", matrix, f=0)) > 1000, "nor with f = 0"


@settings(max_examples=60, deadline=None)
@given(rounds())
def test_coordinates_stay_between_honest_ones(drawn: tuple[Array, int]) -> None:
    matrix, f = drawn
    honest = matrix[: len(matrix) - f]
    low, high = honest.min(axis=0), honest.max(axis=0)
    for name in ("median", "trimmed-mean"):
        vector = combined(name, matrix, f=f).vector
        assert ((low <= vector) & (vector <= high)).all(), name


@settings(max_examples=60, deadline=None)
@given(rounds(needed_by("bulyan")))
def test_bulyan_stays_within_one_spread_of_the_honest(drawn: tuple[Array, int]) -> None:
    matrix, f = drawn
    honest = matrix[: len(matrix) - f].astype(np.float64)
    low, high = honest.min(axis=0), honest.max(axis=0)
    vector = result("bulyan", matrix, f=f)
    room = (high - low) * (1 + 1e-6) + 1e-6 * np.abs(honest).max()
    assert ((low - room <= vector) & (vector <= high + room)).all()


@settings(max_examples=60, deadline=None)
@given(rounds(), st.integers(1, 8))
def test_the_geometric_median_stays_near_the_honest(drawn: tuple[Array, int], steps: int) -> None:
    matrix, f = drawn
    wide = matrix.astype(np.float64)
    honest = wide[: len(matrix) - f]
    alpha, center = f / len(matrix), honest.mean(axis=0)
    start = float(np.linalg.norm(np.median(wide, axis=0) - center))
    r = float(np.linalg.norm(honest - center, axis=1).mean())
    bound = (2 * (1 - alpha) * r + start + 1e-6 / 2) / (1 - 2 * alpha)
    far = float(np.linalg.norm(result("geometric-median", matrix, f=f, steps=steps) - center))
    assert far <= bound * (1 + 1e-5) + 1e-6 * float(np.abs(center).max())


def test_the_mean_does_not() -> None:
    matrix = np.concatenate([np.random.default_rng(0).normal(size=(8, 3)), np.full((1, 3), HUGE)])
    honest, mean = matrix[:8], result("mean", matrix)
    low, high = honest.min(axis=0), honest.max(axis=0)
    assert not (mean <= high + (high - low)).any(), (
        "neither the bound of median and trimmed mean nor Bulyan's"
    )
    start = np.linalg.norm(np.median(matrix, axis=0) - honest.mean(axis=0))
    r = np.linalg.norm(honest - honest.mean(axis=0), axis=1).mean()
    assert np.linalg.norm(mean - honest.mean(axis=0)) > 100 * (2 * r + start) / (1 - 2 / 9)


@pytest.mark.parametrize("pre", ["none", "bucketing"])
@settings(max_examples=40, deadline=None)
@given(rounds(), st.integers(1, 3), st.sampled_from([0.1, 2.0]))
def test_f_liars_move_a_clipped_mean_by_their_part_of_the_radius(
    pre: str, drawn: tuple[Array, int], iterations: int, radius: float
) -> None:
    """In place of the liars' updates, anything else: here the first honest one."""
    matrix, f = drawn
    others = matrix.copy()
    others[len(matrix) - f :] = matrix[0]
    rows = ceil(len(matrix) / 2) if pre == "bucketing" else len(matrix)
    unit = 1e-5 * (1 + float(np.abs(matrix[: len(matrix) - f]).max()))
    for name, given_, times in (
        ("centered-clipping", {"radius": radius, "iterations": iterations}, iterations),
        ("norm-bound", {"length": radius}, 1),
    ):
        lied, without = (result(name, each, f=f, pre=pre, **given_) for each in (matrix, others))
        assert np.linalg.norm(lied - without) <= 2 * times * f * radius / rows + unit
        assert np.linalg.norm(lied) <= times * radius + unit, "nor does anybody move it farther"


def test_one_liar_moves_the_mean_farther_than_a_clipped_mean() -> None:
    matrix = np.zeros((9, 2))
    matrix[-1] = HUGE
    assert np.linalg.norm(result("mean", matrix)) > 1000 * 2 / 9


def test_the_center_is_the_last_change() -> None:
    """A change that stays the same is reached a radius at a time, and then counts in full."""
    rule = RULES.make("centered-clipping", {"radius": 1.0})
    base, state = np.zeros(2, np.float32), rule.init(2)
    far = []
    for _ in range(7):
        made = rule.aggregate(updates([[3.0, 4.0]] * 3), base, state)
        assert made.vector.tobytes() == made.state[CENTER].tobytes()
        state = made.state
        far.append(float(np.linalg.norm(state[CENTER])))
    assert far == pytest.approx([1, 2, 3, 4, 5, 5, 5], rel=1e-6)
    assert set(made.counted.values()) == {1.0}
