"""Handwritten digits, divided so that a device knows only a few of the ten: not IID on purpose.

The 1,797 images of 8 × 8 pixels of the UCI "Optical Recognition of Handwritten Digits" set that scikit-learn
ships, split as in McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized
Data", AISTATS, section 3: sorted by label, cut into two shards a device, shards dealt at random.
"""

import numpy as np

from fedge.errors import ConfigError
from fleet.datasets.federated import DeviceData, FederatedDataset

SHARDS_EACH = 2
MAX_DEVICES = 25  # 1,797 / 25 leaves a device about 57 rows to train on: above a survey's minimum of 20
FEATURES = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))


def load_digits(devices: int = 20, seed: int = 1) -> FederatedDataset:
    """Divide the digits among `devices` devices.

    Raises:
        ConfigError: scikit-learn is not installed, or the rows do not suffice for so many devices.
    """
    try:
        from sklearn import datasets
    except ImportError:
        raise ConfigError("the digits need the extra 'demo': pip install 'fedge[demo]'") from None
    if not 1 <= devices <= MAX_DEVICES:
        raise ConfigError(f"--devices {devices}: the digits suffice for 1 to {MAX_DEVICES} devices")
    images, digits = datasets.load_digits(return_X_y=True)
    shards = np.array_split(np.argsort(digits, kind="stable"), SHARDS_EACH * devices)
    order = np.random.default_rng(seed).permutation(len(shards))
    hands = [[shards[index] for index in sorted(hand)] for hand in np.split(order, devices)]
    return FederatedDataset(
        name="digits",
        title="Handwritten digits, two shards of labels a device",
        features=FEATURES,
        classes=tuple(str(digit) for digit in range(10)),
        devices=tuple(
            DeviceData(
                device=f"writer-{number:02d}",
                features=images[np.concatenate(hand)].astype(np.float32),
                labels=tuple(str(digits[row]) for shard in hand for row in shard),
                series=tuple(f"shard-{part}" for part, shard in enumerate(hand, 1) for _ in shard),
            )
            for number, hand in enumerate(hands, 1)
        ),
        holdout=0.2,
        gap=0,
        hidden_units=64,
    )
