"""What devices tell of their classes: how far they differ, and a bound on what one of them does to that."""

import doctest
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.core import mixes
from aggregator.core.mixes import SHOWN, SKEWED, mix_of, skew_of
from fedge.wire.messages.survey import MAX_CLASSES_TOLD
from tests.wording import assert_tells

CLASSES = ("walk", "run", "still")
counts = st.dictionaries(st.sampled_from("abcd"), st.integers(5, 1_000), min_size=1)


def dealt(alpha: float | None, devices: int = 20, rows: int = 75, seed: int = 0) -> list[dict[str, int]]:
    """Rows of ten classes, by mixes of Dirichlet(α) or all alike, told to the next 5 as devices do."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(devices):
        mix = np.full(10, 0.1) if alpha is None else rng.dirichlet([alpha] * 10)
        drawn = rng.multinomial(rows, mix)
        found.append({str(k): 5 * round(n / 5) for k, n in enumerate(drawn.tolist()) if n >= 5})
    return found


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(mixes, optionflags=doctest.ELLIPSIS) == (0, 1)


@pytest.mark.parametrize(("alpha", "skewed"), [(0.1, True), (1.0, False), (3.0, False), (None, False)])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rows", [75, 400])
def test_mixes_that_are_drawn_apart_are_told_from_those_that_are_not(
    alpha: float | None, skewed: bool, seed: int, rows: int
) -> None:
    assert (skew_of(dealt(alpha, rows=rows, seed=seed)) >= SKEWED) is skewed


def test_few_rows_that_differ_by_chance_are_no_skew() -> None:
    told = dealt(None, rows=60)
    shares = np.array([[each.get(str(k), 0) for k in range(10)] for each in told], dtype=float)
    shares /= shares.sum(axis=1, keepdims=True)
    assert np.median(np.abs(shares - shares.mean(axis=0)).sum(axis=1) / 2) > 0.2
    assert skew_of(told) < SKEWED / 2


@given(st.lists(counts, min_size=3, max_size=20), counts)
def test_one_device_moves_the_figure_by_no_more_than_its_share_and_one_rank(
    honest: list[dict[str, int]], lie: dict[str, int]
) -> None:
    """At most it is the next higher of the others' distances from their own mix, and 1/n."""
    found = skew_of([*honest, lie])
    n = len(honest) + 1
    shares = np.array([[each.get(name, 0) for name in "abcd"] for each in honest], dtype=float)
    shares /= shares.sum(axis=1, keepdims=True)
    own = np.sort(np.abs(shares - shares.mean(axis=0)).sum(axis=1) / 2)
    assert 0 <= found <= min(1.0, own[min((n - 1) // 2, n - 2)] + 1 / n + 1e-9)


def test_twenty_devices_with_a_liar_are_judged_as_the_others_alone() -> None:
    for alpha in (0.1, None):
        honest = dealt(alpha, devices=19)
        for lie in ({"0": 2**31 - 1}, {f"x{k}": 2**31 - 1 for k in range(MAX_CLASSES_TOLD)}, {"0": 1}):
            assert (skew_of([*honest, lie]) >= SKEWED) is (skew_of(honest) >= SKEWED)


def test_letters_that_no_font_has_make_a_line_no_longer() -> None:
    told = {f"d{k}": {f"{k}{chr(0x10000C) * 58}{n}": 5 for n in range(9)} for k in range(9)}
    assert len(str(mix_of(told, CLASSES))) < 2 * SHOWN * 75 + 500


def test_names_that_no_other_device_has_take_room_once_and_not_for_each_device() -> None:
    told = [{f"{device}·{k}": 9 for k in range(MAX_CLASSES_TOLD)} for device in range(200)]
    peaks = []
    for _ in range(3):  # the least of them: what other threads of the process take is not counted
        tracemalloc.start()
        try:
            skew_of(told)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert min(peaks) < 500 * sum(map(len, told)), "bytes for each name that was told"


@given(st.lists(counts, min_size=3, max_size=20))
def test_the_figure_is_the_median_distance_of_the_mixes_less_what_chance_takes(
    told: list[dict[str, int]],
) -> None:
    rows = np.array([[each.get(name, 0) for name in "abcd"] for each in told], dtype=float)
    totals = rows.sum(axis=1, keepdims=True)
    fleet = (rows / totals).mean(axis=0)
    apart = np.abs(rows / totals - fleet).sum(axis=1) / 2
    by_chance = np.sqrt(2 * fleet * (1 - fleet) / (np.pi * totals)).sum(axis=1) / 2
    distances = np.sort(np.maximum(0, apart - by_chance))
    assert skew_of(told) == pytest.approx(distances[(len(told) - 1) // 2], abs=1e-9)


def test_nothing_is_said_of_how_far_they_differ_where_few_tell() -> None:
    apart: list[dict[str, int] | None] = [{"walk": 50}, {"run": 50}, {"still": 50}]

    def skew(*told: dict[str, int] | None) -> float | None:
        mix = mix_of({str(k): each for k, each in enumerate(told)}, CLASSES)
        return None if mix is None else mix.skew

    assert skew(*apart) is not None
    assert skew(*apart[:2]) is None
    assert skew(*apart, None, None, None) is not None
    assert skew(*apart, None, None, None, None) is None, "fewer than half"
    assert mix_of({"a": None, "b": {}}, CLASSES) is None
    assert mix_of({"a": {"walk": 0}}, CLASSES) is None


def test_names_that_the_task_lacks_are_told_and_what_to_do() -> None:
    mix = mix_of({"a": {"walk": 50, "jog": 5}, "b": {"jog": 10}, "c": None}, CLASSES)
    assert mix is not None
    assert mix.unknown == ("jog",)
    assert_tells(str(mix), "2 of 3 devices", "[data] tell_classes", "'jog' on 2, 'walk' on 1")
    assert_tells(str(mix), "[model] classes", "'jog'", "new generation", "[data] labels")


def test_a_liar_fills_no_line_and_crowds_out_no_name_that_two_devices_tell() -> None:
    flood = {f"{k:060d}": 1_000 for k in range(MAX_CLASSES_TOLD)}
    mix = mix_of({"a": {"walk": 50, "zebra": 50}, "b": {"zebra": 50}, "liar": flood}, CLASSES)
    assert mix is not None
    assert len(str(mix)) < 2 * SHOWN * 80
    assert mix.names[0] == ("zebra", 2)
    assert mix.unknown[0] == "zebra"
