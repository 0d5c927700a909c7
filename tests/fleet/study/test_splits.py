"""Splits of a study: each row lies on one device, and labels are mixed as the split says."""

import numpy as np
import pytest

from fedge.errors import ConfigError
from fleet.study.splits import by_groups, dirichlet, iid, shards
from tests.wording import telling

LABELS = np.repeat(np.arange(10), 150)
"""1,500 rows, 150 of each of ten labels."""


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def once_each(hands: "list[np.ndarray]", n: int) -> None:
    assert np.array_equal(np.sort(np.concatenate(hands)), np.arange(n))
    assert all(np.array_equal(hand, np.sort(hand)) for hand in hands)


def test_groups_keep_their_rows() -> None:
    hands = by_groups(np.repeat([1, 0, 2], [20, 30, 25]))
    assert [list(hand[[0, -1]]) for hand in hands] == [[20, 49], [0, 19], [50, 74]]


def test_iid_deals_every_row_once_and_mixes_labels() -> None:
    hands = iid(1_503, 20, rng())
    once_each(hands, 1_503)
    assert sorted({len(hand) for hand in hands}) == [75, 76]  # 1503 = 3 · 76 + 17 · 75
    assert len({int(LABELS[row]) for row in hands[0] if row < 1_500}) >= 8


def test_shards_give_a_device_at_most_as_many_labels_as_shards_where_they_do_not_cross() -> None:
    """1,500 rows in 30 shards of 50, three a label: none has two labels, so a hand of two has at most 2."""
    labels = rng().permutation(LABELS)
    hands = shards(labels, 15, 2, rng())
    once_each(hands, 1_500)
    assert {len(hand) for hand in hands} == {100}
    assert max(len(np.unique(labels[hand])) for hand in hands) == 2


def test_shards_are_dealt_anew_with_each_seed_and_the_same_with_one() -> None:
    first, same, other = (shards(LABELS, 15, 2, rng(seed)) for seed in (3, 3, 4))
    assert all(map(np.array_equal, first, same))
    assert not all(map(np.array_equal, first, other))


@pytest.mark.parametrize(("alpha", "least", "most"), [(0.01, 0.8, 1.0), (1.0, 0.2, 0.5), (1e6, 0.1, 0.25)])
def test_the_smaller_alpha_the_fewer_labels_a_device_has(alpha: float, least: float, most: float) -> None:
    """The share of a device's most frequent label: nearly 1 for α → 0 until labels are used up; for α → ∞ the
    mix of all, .1 and the noise of 75 draws."""
    hands = dirichlet(LABELS, 20, alpha, rng())
    once_each(hands, 1_500)
    assert {len(hand) for hand in hands} == {75}
    assert least < np.mean([np.bincount(LABELS[hand]).max() / 75 for hand in hands]) < most


def test_dirichlet_follows_the_mix_of_all_rows() -> None:
    """Of 900 rows of one label and 100 of another, a device has about a tenth of the other if α is large."""
    y = np.repeat([0, 1], [900, 100])
    shares = [np.mean(y[hand]) for hand in dirichlet(y, 10, 1e6, rng())]
    assert np.mean(shares) == pytest.approx(0.1)
    assert max(shares) < 0.25  # five standard deviations of a share of 100 draws: .1 + 5 · .03


@pytest.mark.parametrize(
    "split",
    [
        lambda: by_groups(np.repeat([0, 1], [30, 19])),
        lambda: iid(399, 20, rng()),
        lambda: shards(LABELS[:390], 10, 2, rng()) and shards(LABELS[:199], 10, 2, rng()),
        lambda: dirichlet(LABELS[:199], 10, 1.0, rng()),
    ],
)
def test_a_device_with_fewer_than_twenty_rows_is_refused(split: object) -> None:
    with pytest.raises(ConfigError, match=telling("[data] split", "19 rows", "20")):
        split()  # type: ignore[operator]
