"""The demo's data is what it says it is, and survives being written as CSV."""

import csv
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from fedge.errors import ConfigError, DataError
from fedge.wire.topics import DEVICE_ID
from fleet.datasets import FederatedDataset, load_digits, load_watch, watch, write_csv

# Only asked for here: each worker imports this module, and most of them need no sklearn.
pytestmark = pytest.mark.skipif(find_spec("sklearn") is None, reason="sklearn is not installed")


@pytest.fixture(scope="module")
def watches() -> FederatedDataset:
    return load_watch()


def test_the_watch_data_has_twenty_devices_and_2229_windows(watches: FederatedDataset) -> None:
    assert len(watches.devices) == 20
    assert len(watches.features) == 48
    assert len(watches.classes) == 7
    assert sum(len(data.labels) for data in watches.devices) == 2_229
    for data in watches.devices:
        assert data.features.shape == (len(data.labels), 48)
        assert data.features.dtype == np.float32
        assert np.isfinite(data.features).all()
        # one recording of each exercise by each person and wrist
        assert len(set(zip(data.series, data.labels, strict=True))) == 7
        assert set(data.labels) == set(watches.classes)


def test_device_ids_are_ones_the_protocol_takes(watches: FederatedDataset) -> None:
    import re

    for dataset in (watches, load_digits()):
        names = [data.device for data in dataset.devices]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(DEVICE_ID, name) for name in names)


def test_a_window_is_described_channel_by_channel() -> None:
    # Channel k of 0…5 is k + (1, -1, 1, -1, …): mean and median k, σ 1, quartiles ±1, and it changes by 2
    # and crosses its mean with every sample.
    signal = np.arange(6.0) + np.where(np.arange(200) % 2 == 0, 1.0, -1.0)[:, None]
    described = watch.describe(signal).reshape(6, 8)
    for channel in range(6):
        expected = [channel, 1, channel - 1, channel + 1, channel, 2, 2, 1]
        np.testing.assert_allclose(described[channel], expected, atol=1e-6)


def test_fewer_devices_are_the_first_ones(watches: FederatedDataset) -> None:
    fewer = load_watch(3)
    assert [data.device for data in fewer.devices] == [data.device for data in watches.devices[:3]]


@pytest.mark.parametrize("devices", [0, 21])
def test_the_watch_data_does_not_invent_devices(devices: int) -> None:
    with pytest.raises(ConfigError, match=f"--devices {devices}: .*1 to 20 "):
        load_watch(devices)


def test_a_pickle_that_is_not_the_known_one_is_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "watch_dataset.npy", np.array({"X": []}, dtype=object), allow_pickle=True)

    class Found:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr("importlib.util.find_spec", lambda _name: Found())
    monkeypatch.setattr(np, "load", lambda *_args, **_kw: pytest.fail("it was opened"))
    with pytest.raises(DataError, match=r"watch_dataset\.npy: SHA-256 "):
        load_watch()


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"pip install 'fedge\[demo\]'"):
        load_watch()


def test_digits_are_dealt_out_completely_and_unevenly() -> None:
    dataset = load_digits(20, seed=1)
    assert sum(len(data.labels) for data in dataset.devices) == 1_797
    labels = Counter(label for data in dataset.devices for label in data.labels)
    assert set(labels) == set(dataset.classes)
    # Two shards of about 45 of the ~180 rows a digit has: a shard spans at most two digits.
    assert all(len(set(data.labels)) <= 4 for data in dataset.devices)
    assert np.mean([len(set(data.labels)) for data in dataset.devices]) < 3.5


def test_digits_depend_on_the_seed_and_on_nothing_else() -> None:
    first, again, other = load_digits(10, 1), load_digits(10, 1), load_digits(10, 2)
    for one, two in zip(first.devices, again.devices, strict=True):
        np.testing.assert_array_equal(one.features, two.features)
        assert one.labels == two.labels
    assert any(one.labels != two.labels for one, two in zip(first.devices, other.devices, strict=True))


@pytest.mark.parametrize("devices", [0, 26])
def test_digits_that_do_not_suffice_are_told(devices: int) -> None:
    with pytest.raises(ConfigError, match=f"--devices {devices}: .*1 to 25 "):
        load_digits(devices)


def test_csv_brings_every_value_back(watches: FederatedDataset, tmp_path: Path) -> None:
    data = watches.devices[4]
    path = tmp_path / "windows.csv"
    write_csv(data, watches.features, path)
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == [*watches.features, "series", "label"]
    read = np.array([row[:-2] for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(read, data.features)
    assert tuple(row[-2] for row in rows) == data.series
    assert tuple(row[-1] for row in rows) == data.labels
