"""Partition a data set: a folder for each device, with only its own rows."""

from pathlib import Path

from fedge.errors import ConfigError
from fleet.datasets import FederatedDataset, write_csv
from fleet.demo.provision import DATA_FILE


def deal(dataset: FederatedDataset, folder: Path) -> int:
    """Write `folder/DEVICE/windows.csv` for each device; an existing file stays as it is.

    Returns:
        The number of new files.

    Raises:
        ConfigError: the folder cannot be written.
    """
    new = 0
    try:
        for data in dataset.devices:
            path = folder / data.device / DATA_FILE
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".unfinished")
            write_csv(data, dataset.features, unfinished)
            unfinished.replace(path)
            new += 1
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be written: {error.strerror}") from None
    return new
