"""The order of rows by their times, and of a folder's files."""

from pathlib import Path

import numpy as np
import pytest

from agent.data.dataset import Unfit, fit
from agent.sources import CsvSource
from agent.sources.form_settings import FormSettings
from agent.sources.times import Times, order, seconds
from fedge.errors import DataError
from fedge.wire.reasons import Reason
from tests.agent.dialects.reading import NAN, column, read
from tests.agent.test_dataset import ALL, N, classifier
from tests.wording import assert_tells, telling

# Order


def test_rows_in_the_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,u,label,run\n3,30,c,x\n1,10,a,x\n?,11,a,x\n")
    (tmp_path / "b.csv").write_text("t,u,label,run\n2,20,b,x\n4,oops,d,x\n")
    samples = CsvSource(tmp_path, "label", "run", form=FormSettings(time="t")).read()
    np.testing.assert_array_equal(samples.X[:, 1], np.array([10, 11, 20, 30, NAN], dtype=np.float32))
    assert samples.y is not None
    assert samples.y.tolist() == ["a", "a", "b", "c", "d"]
    assert [samples.place(i).removeprefix(f"{tmp_path}/") for i in range(5)] == [
        f"{place}"
        for place in ("a.csv: line 3", "a.csv: line 4", "b.csv: line 2", "a.csv: line 2", "b.csv: line 3")
    ]
    assert samples.unread[1].row == 4
    assert_tells(samples.reading[-1], "column 't'", "1 rows without a time")


@pytest.mark.parametrize(
    "cells",
    [
        ["2026-05-01T12:00:00Z", "2026-05-01T12:00:00.250+00:00", "2026-05-01T14:00:01+02:00"],
        ["2026-05-01 12:00:00", "2026-05-01 12:00:00.25", "2026-05-01 12:00:01"],
        ["1777636800", "1777636800.25", "1777636801"],
        ["1777636800000", "1777636800250", "1777636801000"],
        ["1777636800000000000", "1777636800250000000", "1777636801000000000"],
        ["1777636800000", "2026-05-01T12:00:00.25Z", "1777636801000"],
    ],
)
def test_times(cells: list[str]) -> None:
    times = Times()
    for cell in cells:
        times.take([cell])
    np.testing.assert_allclose(seconds([times]), [1777636800, 1777636800.25, 1777636801], atol=1e-6)


def test_the_unit_is_that_of_the_whole_column() -> None:
    times = Times()
    times.take(["99999999999"])  # a clock of microseconds that passes what seconds could be
    times.take(["100000000001"])
    assert order(seconds([times])) is None


def test_times_with_a_decimal_comma(tmp_path: Path) -> None:
    assert column(read(tmp_path, "t;u\n0,75;3\n0,5;2\n", time="t"), "u") == [2, 3]


def test_a_time_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=telling("line 1: ", "column 'when'", "[data] time")):
        read(tmp_path, "t,u\n1,2\n", time="when")
    with pytest.raises(DataError, match=r"column 't': .*\[data\] time"):
        read(tmp_path, "t,u\nmorning,2\n", time="t")


# Folders


def test_columns_that_only_some_files_have(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("u,v,label\n" + "1,2,walk\n" * N)
    (tmp_path / "2.csv").write_text("label;v;new;new;u\n" + "run;4;x;y;3\n" * N)
    samples = CsvSource(tmp_path, "label").read()
    dataset = fit(samples, classifier("walk", "run"), ALL)
    np.testing.assert_array_equal(dataset.X, np.array([[1, 2]] * N + [[3, 4]] * N, dtype=np.float32))
    with pytest.raises(Unfit, match=telling("1.csv: line 1: ", "column 'new'", "2.csv")) as caught:
        fit(samples, classifier("walk", "run", features=("u", "new")), ALL)
    assert caught.value.reason is Reason.BAD_DATA
    one, two = samples.reading
    assert_tells(one, "1.csv: ", "comma")
    assert_tells(two, "2.csv: ", "semicolon", "5 cells")


def test_a_label_that_only_some_files_have(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("u,v,label\n1,2,walk\n")
    (tmp_path / "2.csv").write_text("u,v\n3,4\n")
    with pytest.raises(Unfit, match=r"'label' .*2\.csv"):
        fit(CsvSource(tmp_path, "label").read(), classifier("walk", "run"), ALL)


def test_a_folder_without_csv(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"u": 1}\n')
    (tmp_path / "b.jsonl").write_text('{"u": 2}\n')
    assert column(CsvSource(tmp_path).read(), "u") == [1, 2]
    (tmp_path / "c.csv").write_text("u\n3\n")
    assert column(CsvSource(tmp_path).read(), "u") == [3], "its *.csv, if it has any"
    for file in tmp_path.iterdir():
        file.unlink()
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=telling("a.parquet: ", "CSV", "Parquet")):
        CsvSource(tmp_path).read()


def test_two_recordings_of_one_sensor_are_rows(tmp_path: Path) -> None:
    for name, first in (("Accelerometer-1", 10), ("Accelerometer-2", 20)):
        rows = "".join(f"{first + i},{i},{first + i}\n" for i in range(3))
        (tmp_path / f"{name}.csv").write_text(f"time,seconds_elapsed,x\n{rows}")
    assert column(CsvSource(tmp_path).read(), "x") == [10, 11, 12, 20, 21, 22]
