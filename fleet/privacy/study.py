"""The population of a study: a data set that comes with Fedge, a file of rows, or a `study.toml`."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fedge.errors import ConfigError
from fedge.nn.spec import Dense, NetworkSpec, TrainableSpec
from fleet.privacy.expectation import Deal
from fleet.privacy.population import Population
from fleet.study.deal import Table
from fleet.study.settings import DataSection, SplitSection, StudySettings

DEVICES = 50
"""How many devices the rows of a file are dealt to, unless a `study.toml` says."""


def deal_of(name: str) -> Deal:
    """What deals the rows of a study for each seed.

    Each column is brought to 0…1 by its range in the test rows, and clipped there: the test rows are of no
    device. The ordinary survey of a federation would tell something of the devices' rows.

    Args:
        name: `digits`, `watch`, a file CSV or NPZ, or a file TOML with the settings of a study.

    Raises:
        ConfigError: a setting is wrong, or the rows have targets instead of classes.
        DataError: a file cannot be read.
    """
    if name.endswith(".toml"):
        settings = StudySettings.load(Path(name))
        return dealing(settings.data, settings.model.layers)
    split = {"by": "column"} if name == "watch" else {"by": "iid", "devices": DEVICES}
    try:
        data = DataSection.model_validate({"dataset": name, "split": SplitSection.model_validate(split)})
    except ValidationError as error:
        first = error.errors(include_url=False)[-1]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{name}: {first}; expected digits, watch, or a CSV, NPZ or study.toml") from None
    return dealing(data, ())


def dealing(data: DataSection, layers: tuple[TrainableSpec, ...]) -> Deal:
    """As `deal_of`, of settings that are read."""
    table = Table(data)
    if table.rows.classes is None:
        raise ConfigError(
            "the accuracy under privacy is simulated for classes alone, and these rows have targets"
        )
    outputs = Dense(units=len(table.rows.classes))
    network = NetworkSpec(inputs=len(table.rows.features), layers=(*layers, outputs), loss="cross-entropy")

    def deal(seed: int) -> Population:
        dealt = table.deal(seed)
        X, y = dealt.test
        low, high = X.min(0), X.max(0)
        devices = [(scaled(hand[0], low, high), hand[1]) for hand in dealt.devices.values()]
        return Population.of(devices, (scaled(X, low, high), y), network)

    return deal


def scaled(
    X: NDArray[np.float32], low: NDArray[np.float32], high: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Rows (n, d) with each column's range low…high brought to 0…1 and clipped to it; constant ones are 0."""
    width = np.where(high > low, high - low, np.inf)
    found: NDArray[np.float32] = np.clip((X - low) / width, 0, 1).astype(np.float32)
    return found
