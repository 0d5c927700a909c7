"""Deal the rows of one data set to devices: by groups, at random, by label shards, or by Dirichlet. Pure.

Each function returns the rows of each device as indices, ascending.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedge.errors import ConfigError

Rows = NDArray[np.intp]

LEAST = 20
"""The fewest rows of a device: a survey never describes fewer."""


def by_groups(groups: NDArray[np.int64]) -> list[Rows]:
    """Give each group of rows to a device of its own.

    Args:
        groups: of shape (n,), the group of each row, 0 to g - 1.

    Raises:
        ConfigError: a group has fewer than `LEAST` rows.
    """
    hands = [np.flatnonzero(groups == group) for group in range(int(groups.max()) + 1)]
    return _enough(hands, "leave out the rows of such devices")


def iid(n: int, devices: int, rng: np.random.Generator) -> list[Rows]:
    """Deal n rows at random; the numbers of rows differ by one at most.

    McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS,
    section 3, "IID".

    Raises:
        ConfigError: a device would have fewer than `LEAST` rows.
    """
    return _enough([np.sort(hand) for hand in np.array_split(rng.permutation(n), devices)])


def shards(y: NDArray[np.int64], devices: int, each: int, rng: np.random.Generator) -> list[Rows]:
    """Sort the rows by label, cut them into `devices · each` shards, and deal each device `each` of them.

    A device then knows about `each` labels. McMahan et al. 2017, section 3, "Non-IID", with `each` = 2.

    Args:
        y: of shape (n,), the label of each row.
        devices: the number of devices.
        each: the shards of a device.
        rng: deals the shards.

    Raises:
        ConfigError: a device would have fewer than `LEAST` rows.
    """
    cut = np.array_split(np.argsort(y, kind="stable"), devices * each)
    order = rng.permutation(len(cut)).reshape(devices, each)
    return _enough([np.sort(np.concatenate([cut[shard] for shard in hand])) for hand in order])


def dirichlet(y: NDArray[np.int64], devices: int, alpha: float, rng: np.random.Generator) -> list[Rows]:
    """Deal each device the same number of rows, with a mix of labels from Dirichlet(α · the mix of all rows).

    Hsu, Qi and Brown 2019, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification", https://arxiv.org/abs/1909.06335, section 3: α → 0 gives a device one label, α → ∞ the
    mix of all. A device whose mix asks for a label that is used up takes the others in the proportions of its
    mix, and at random where these are used up too. The rest of n divided by the devices is dealt to no one.

    Args:
        y: of shape (n,), the label of each row.
        devices: the number of devices.
        alpha: the concentration α, above 0.
        rng: draws the mixes and the rows.

    Raises:
        ConfigError: a device would have fewer than `LEAST` rows.
    """
    labels, counts = np.unique(y, return_counts=True)
    left = [rng.permutation(np.flatnonzero(y == label)) for label in labels]
    each = len(y) // devices
    hands: list[Rows] = []
    for _ in range(devices):
        mix = rng.dirichlet(alpha * counts / len(y) * len(labels))
        taken: list[Rows] = []
        wanted = each
        while wanted:
            there = np.array([len(rows) for rows in left])
            odds = np.where(there > 0, mix, 0.0)
            if odds.sum() <= 0:
                odds = there.astype(np.float64)
            for label, drawn in enumerate(rng.multinomial(wanted, odds / odds.sum())):
                given, left[label] = np.split(left[label], [min(drawn, there[label])])
                taken.append(given)
                wanted -= len(given)
        hands.append(np.sort(np.concatenate([*taken, np.empty(0, dtype=np.intp)])))
    return _enough(hands)


def _enough(hands: Sequence[Rows], remedy: str = "lower the number of devices") -> list[Rows]:
    """The hands, if each has rows enough.

    Raises:
        ConfigError: one has fewer than `LEAST`.
    """
    fewest = min(len(hand) for hand in hands)
    if fewest < LEAST:
        raise ConfigError(
            f"[data] split: one of {len(hands)} devices would have {fewest} rows, and each needs {LEAST}; "
            f"{remedy}"
        )
    return list(hands)
