"""Groups: drawn by all, as large as asked, each with its own masks, and liars spoil one mean each."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.masked_cohort import Cohort, terms_of
from fedge.algorithms.protocols import Rule
from fedge.algorithms.registry import RULES
from fedge.algorithms.rules.krum import Krum
from fedge.algorithms.rules.median import Median
from fedge.algorithms.rules.robust import RobustOptions
from fedge.masking.groups import combined, mean_of, most_groups, seed_of, split, terms_of_group
from fedge.masking.messages import Terms
from fedge.masking.server_state import Summed
from fedge.masking.thresholds import at_most, colluders_borne, default_threshold

COHORT = terms_of(23)
DRAWN = {name: bytes([at]) * 32 for at, name in enumerate(COHORT.cohort)}
SIZE = 8


@given(devices=st.integers(3, 60), data=st.data())
def test_each_device_is_in_one_group_and_sizes_differ_by_one_at_most(
    devices: int, data: st.DataObject
) -> None:
    least = data.draw(st.integers(3, devices))
    names = terms_of(devices).cohort
    groups = split(names, least, data.draw(st.binary(min_size=32, max_size=32)))
    assert len(groups) == devices // least
    assert sorted(name for group in groups for name in group) == sorted(names)
    assert {len(group) for group in groups} <= {devices // len(groups), devices // len(groups) + 1}
    assert all(len(group) >= least and list(group) == sorted(group) for group in groups)


def test_each_devices_bytes_alone_change_the_groups() -> None:
    """So one honest device's bytes make them random, whatever the server and all others choose."""
    seed = seed_of(COHORT, DRAWN)
    assert split(COHORT.cohort, 5, seed) == split(COHORT.cohort, 5, seed_of(COHORT, dict(DRAWN)))
    for name in COHORT.cohort:
        other = seed_of(COHORT, {**DRAWN, name: b"\xff" * 32})
        assert split(COHORT.cohort, 5, other) != split(COHORT.cohort, 5, seed)
    assert seed_of(terms_of(23, attempt=1), DRAWN) != seed


@pytest.mark.parametrize("wrong", ["missing", "foreign", "short", "copied"])
def test_bytes_that_cannot_be(wrong: str) -> None:
    drawn = dict(DRAWN)
    match wrong:
        case "missing":
            del drawn["d0003"]
        case "foreign":
            drawn["d0099"] = b"\xff" * 32
        case "short":
            drawn["d0003"] = bytes(31)
        case "copied":
            drawn["d0003"] = drawn["d0004"]
    with pytest.raises(ValueError, match="drawn the same" if wrong == "copied" else "32 bytes"):
        seed_of(COHORT, drawn)
    for least in (2, 24):
        with pytest.raises(ValueError, match="groups of"):
            split(COHORT.cohort, least, bytes(32))


def test_two_devices_are_together_as_often_as_chance_has_it() -> None:
    """300 times 4 groups of 12: a pair is together 300 · 2/11 = 54.5 times, ± 6 deviations of 6.7."""
    together: Counter[tuple[str, str]] = Counter()
    names = terms_of(12).cohort
    for at in range(300):
        for group in split(names, 3, at.to_bytes(32, "big")):
            together.update((a, b) for a in group for b in group if a < b)
    assert len(together) == 66
    assert all(14 < count < 95 for count in together.values())


def test_the_most_groups_are_within_the_probability_and_one_more_is_not() -> None:
    """Of 1,000 devices, 100 of which help a server that lies: five groups of 200; curious: 17 of 58 or 59."""
    assert [most_groups(1_000, c) for c in (20, 50, 100)] == [16, 9, 5]
    assert [most_groups(1_000, c, lying=False) for c in (20, 50, 100)] == [45, 29, 17]
    assert most_groups(50, 5) == 3
    assert most_groups(20, 6) == 1

    def holds(groups: int) -> bool:
        size = 1_000 // groups
        borne = colluders_borne(size, default_threshold(size))
        return at_most(1_000, 50, size, borne + 1, 80)

    assert holds(9)
    assert not holds(10)


@pytest.mark.parametrize("server", ["lying", "honest-but-curious"])
def test_a_group_has_its_own_threshold_ring_and_keys(server: str) -> None:
    whole = terms_of(23, server=server, colluders=3, dropouts=2)
    groups = split(whole.cohort, 5, seed_of(whole, DRAWN))
    parts = [terms_of_group(whole, group) for group in groups]
    assert [part.threshold for part in parts] == [
        (2 * len(group) // 3 + 1) if server == "lying" else len(group) // 2 + 1 for group in groups
    ]
    assert all((part.colluders, part.dropouts) == (1, 1) for part in parts)
    assert all(part.model_copy(update={"cohort": whole.cohort}).round == whole.round for part in parts)


def rule(kind: type[Median] | type[Krum], f: int) -> Rule:
    return kind(RobustOptions(f=f))


def sums(liars: int, groups: int, by: int) -> tuple[list[tuple[Terms, Summed]], np.ndarray]:
    """Groups of five that have masked and summed; one liar in each of the first groups sends ±L."""
    whole = terms_of(5 * groups, size=SIZE, clip=1.0)
    drawn = {name: at.to_bytes(32, "big") for at, name in enumerate(whole.cohort)}
    made, rng = [], np.random.default_rng(1)
    for at, group in enumerate(split(whole.cohort, 5, seed_of(whole, drawn))):
        terms = terms_of_group(whole, group)
        levels = {name: rng.integers(10, 15, SIZE) for name in group}
        if at < liars:
            levels[group[0]] = np.full(SIZE, by)
        cohort = Cohort(terms, levels=levels)
        found = cohort.run()
        assert isinstance(found, Summed)
        made.append((terms, found))
    return made, np.zeros(SIZE, np.float32)


@pytest.mark.parametrize(("kind", "f"), [(Median, 2), (Krum, 1)])
@pytest.mark.parametrize("by", [-127, 127])
def test_a_rule_over_the_means_stands_f_liars_and_the_plain_mean_does_not(
    kind: type[Median] | type[Krum], f: int, by: int
) -> None:
    """Five groups: f < 5/2 for the median, 2 f + 3 ≤ 5 for Krum. Honest levels are 10 to 14 of 127."""
    made, base = sums(f, 5, by)
    found = combined(rule(kind, f), made, base)
    assert (found.vector >= np.float32(10 / 127)).all()
    assert (found.vector <= np.float32(14 / 127)).all()
    plain = combined(RULES.make("mean"), made, base).vector
    assert not ((plain >= np.float32(10 / 127)).all() and (plain <= np.float32(14 / 127)).all())


def test_the_result_does_not_depend_on_the_order_of_the_groups() -> None:
    made, base = sums(1, 5, 127)
    first = combined(rule(Median, 2), made, base)
    assert (first.vector == combined(rule(Median, 2), made[::-1], base).vector).all()
    assert set(first.counted) == {terms.cohort[0] for terms, _ in made}


def test_a_mean_is_the_base_and_the_weighted_mean_of_levels() -> None:
    """clip 2, L = 127: a sum of 254 levels with Σ n_k = 4 is a change of 2 · 254 / 127 / 4 = 1."""
    terms = terms_of(3, size=2, clip=2.0, max_weight=2)
    summed = Summed(np.array([254, -508]), 4, terms.cohort)
    assert mean_of(terms, summed, np.array([1, 10], np.float32)).tolist() == [2.0, 8.0]


def test_too_few_groups_and_groups_that_cannot_be() -> None:
    made, base = sums(0, 4, 0)
    with pytest.raises(ValueError, match=r"4 groups, and krum/1 needs 5"):
        combined(rule(Krum, 1), made, base)
    with pytest.raises(ValueError, match="in common"):
        combined(rule(Median, 1), [made[0], *made], base)
    with pytest.raises(ValueError, match="another model"):
        combined(rule(Median, 1), made, np.zeros(SIZE + 1, np.float32))
