"""The rows of a study: from files, dealt to devices, with test rows that no device has."""

from pathlib import Path

import numpy as np
import pytest

from fedge.errors import ConfigError, FedgeError
from fleet.study.deal import Table
from fleet.study.settings import DataSection
from tests.wording import telling


def table(**data: object) -> Table:
    return Table(DataSection.model_validate(data))


def csv(folder: Path, columns: str, rows: "list[str]", name: str = "rows.csv") -> str:
    path = folder / name
    path.write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    return str(path)


def four_devices(folder: Path) -> str:
    """100 rows: `a` is the row's number, `b` its device; the label is whether the number is even."""
    return csv(
        folder,
        "a,b,where,label",
        [f"{k},{k % 4},phone{k % 4},{'odd' if k % 2 else 'even'}" for k in range(100)],
    )


def test_digits_by_iid_lie_on_devices_or_in_the_test_once() -> None:
    deal = table(dataset="digits", test=0.2, split={"by": "iid", "devices": 10}).deal(1)
    assert list(deal.devices)[::9] == ["d01", "d10"]
    assert len(deal.test[0]) == 359  # .2 · 1797 = 359.4
    assert sum(len(X) for X, _ in deal.devices.values()) == 1797 - 359


def test_a_seed_of_the_split_holds_for_all_runs() -> None:
    own = table(dataset="digits", split={"by": "iid", "devices": 10})
    fixed = table(dataset="digits", split={"by": "iid", "devices": 10, "seed": 5})
    assert not np.array_equal(own.deal(1).test[0], own.deal(2).test[0])
    assert np.array_equal(fixed.deal(1).test[0], fixed.deal(2).test[0])
    assert np.array_equal(fixed.deal(1).devices["d01"][0], fixed.deal(2).devices["d01"][0])
    assert np.array_equal(fixed.deal(1).test[0], own.deal(5).test[0])


def test_a_column_of_a_csv_names_the_devices_and_the_last_rows_of_each_are_the_test(tmp_path: Path) -> None:
    """25 rows a device; a fifth, the last five of each, are for the test: of the numbers 80 to 99."""
    read = table(dataset=four_devices(tmp_path), split={"by": "column", "column": "where"})
    assert (read.rows.features, read.rows.classes) == (("a", "b"), ("even", "odd"))
    deal = read.deal(1)
    assert sorted(deal.test[0][:, 0].tolist()) == list(range(80, 100))
    assert [len(X) for X, _ in deal.devices.values()] == [20] * 4
    for X, y in deal.devices.values():
        assert len(np.unique(X[:, 1])) == 1
        assert np.array_equal(y, X[:, 0].astype(int) % 2)


def test_a_regression_of_a_csv_has_its_targets(tmp_path: Path) -> None:
    path = csv(tmp_path, "a,b,t", [f"{k},{2 * k},{3 * k}" for k in range(60)])
    read = table(dataset=path, targets=["t"], test=0.3, split={"by": "iid", "devices": 2})
    assert (read.rows.features, read.rows.targets, read.rows.classes) == (("a", "b"), ("t",), None)
    X, y = read.deal(1).devices["d1"]
    assert np.array_equal(y[:, 0], 3 * X[:, 0])
    assert len(y) == 21  # half of 60 - 18


def test_an_archive_has_rows_and_a_test_file_the_same_classes(tmp_path: Path) -> None:
    X = np.arange(120.0).reshape(60, 2)
    np.savez(tmp_path / "train.npz", X=X, y=np.array(["a", "b", "c"] * 20))
    np.savez(tmp_path / "test.npz", X=X[:4], y=np.array(["c", "c", "b", "b"]))
    split = {"by": "shards", "devices": 3, "shards": 1}
    deal = table(dataset=str(tmp_path / "train.npz"), test=str(tmp_path / "test.npz"), split=split).deal(1)
    assert deal.test[1].tolist() == [2, 2, 1, 1]
    assert sorted(int(y[0]) for _, y in deal.devices.values()) == [0, 1, 2]
    np.savez(tmp_path / "test.npz", X=X[:4], y=np.array(["c", "d", "b", "b"]))
    with pytest.raises(ConfigError, match=telling("test.npz", "d")):
        table(dataset=str(tmp_path / "train.npz"), test=str(tmp_path / "test.npz"), split=split)


def test_the_last_windows_of_each_recording_of_the_watches_are_the_test() -> None:
    """20 devices; windows overlap by half, so one between training and test is on neither side."""
    read = table(dataset="watch", split={"by": "column"})
    deal = read.deal(1)
    assert len(deal.devices) == 20
    assert read.rows.series is not None
    recordings = len(np.unique(read.rows.series))
    assert sum(len(X) for X, _ in deal.devices.values()) + len(deal.test[0]) == len(read.rows.X) - recordings


def test_held_out_rows_are_random_ones_of_each_device(tmp_path: Path) -> None:
    """Of a file sorted by label the last rows would all have one label. What a device has stays the same."""
    path = csv(tmp_path, "a,label", [f"{k},{'late' if k >= 100 else 'early'}" for k in range(200)])
    split = {"by": "iid", "devices": 2}
    plain = table(dataset=path, test=0.2, split=split).deal(1)
    held = table(dataset=path, test=0.2, holdout=0.25, split=split).deal(1)
    assert (plain.training, plain.held) == (160, 0)
    assert (held.training, held.held) == (120, 40)  # of 80 rows each device holds 20 out
    for (X, _), (other, y) in zip(plain.devices.values(), held.devices.values(), strict=True):
        assert sorted(other[:, 0].tolist()) == X[:, 0].tolist()
        assert set(y[-20:].tolist()) == {0, 1}
    assert np.array_equal(plain.test[0], held.test[0])


def test_by_column_rows_stay_in_the_order_of_time(tmp_path: Path) -> None:
    """Of 25 rows a device, a test share of .05 takes the last one. 0.2 of 20 would leave 16 to train on."""
    split = {"by": "column", "column": "where"}
    deal = table(dataset=four_devices(tmp_path), test=0.05, holdout=0.1, split=split).deal(1)
    X, _, series = deal.devices["d2"]
    assert X[:, 0].tolist() == list(range(1, 97, 4))
    assert len(set(series.tolist())) == 1
    assert (deal.training, deal.held) == (4 * 22, 4 * 2)  # of 24 rows, 2.4 are rounded down
    with pytest.raises(ConfigError, match=telling("[data] holdout", "20 rows", "train on 16", "hold 4")):
        table(dataset=four_devices(tmp_path), holdout=0.2, split=split).deal(1)


def test_of_the_watches_windows_that_overlap_held_out_ones_are_left_out() -> None:
    """One between training and held-out rows of each recording, as between training and test rows."""
    read = table(dataset="watch", holdout=0.2, split={"by": "column"})
    deal = read.deal(1)
    rows = [series for _, _, series in deal.devices.values()]
    recordings = sum(len(np.unique(series)) for series in rows)
    assert recordings > 100
    assert deal.training + deal.held == sum(map(len, rows)) - recordings
    with pytest.raises(ConfigError, match=telling("[data] holdout", "'watch'", "'iid'", '"column"')):
        table(dataset="watch", holdout=0.2, split={"by": "iid", "devices": 5})


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        ({"split": {"by": "column", "column": "wher"}}, ("wher",)),
        ({"split": {"by": "column"}}, ("[data] split", "column")),
        ({"features": ["c"], "split": {"by": "iid", "devices": 2}}, ("[data]", "'c'", "a")),
        ({"features": ["where"], "split": {"by": "iid", "devices": 2}}, ("rows.csv", "where")),
        ({"targets": ["a"], "split": {"by": "shards", "devices": 2}}, ("[data] split", "shards", "iid")),
        ({"split": {"by": "iid", "devices": 9}}, ("[data] split", "8 rows", "20")),
        ({"label": "lable", "split": {"by": "iid", "devices": 2}}, ("lable",)),
        ({"test": "no.csv", "split": {"by": "iid", "devices": 2}}, ("no.csv",)),
    ],
)
def test_what_the_data_lack_is_named(data: dict[str, object], facts: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(FedgeError, match=telling(*facts)):
        table(dataset=four_devices(tmp_path), **data).deal(1)
