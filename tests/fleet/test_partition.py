"""Real data dealt out to simulated devices."""

from pathlib import Path

import pytest

from agent.settings.sources import CsvSettings
from agent.sources import open_source
from fedge.errors import ConfigError
from fleet.datasets import LABEL, SERIES, load_watch
from fleet.demo.partition import deal


def test_each_device_gets_its_own_rows_and_files_that_are_there_stay(tmp_path: Path) -> None:
    dataset = load_watch(3)
    assert deal(dataset, tmp_path) == 3
    folders = sorted(tmp_path.iterdir())
    assert [folder.name for folder in folders] == [data.device for data in dataset.devices]
    for folder, data in zip(folders, dataset.devices, strict=True):
        (path,) = folder.iterdir()
        settings = CsvSettings(source="csv", path=path, label=LABEL, series=SERIES)
        assert len(open_source(settings).read().X) == len(data.features)
    (tmp_path / dataset.devices[0].device / "windows.csv").write_text("mine")
    assert deal(load_watch(4), tmp_path) == 1
    assert (tmp_path / dataset.devices[0].device / "windows.csv").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/person-01-left: .*Not a directory"):
        deal(load_watch(1), tmp_path / "file")
