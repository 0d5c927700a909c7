"""A comma that may be a decimal one: `20,5` is 20 and 5, or 20.5, and the check says so."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.data.assessment import assess
from agent.data.finding import Finding
from agent.settings.sources import CsvSettings
from agent.sources import Samples, open_source
from fedge.errors import DataError
from tests.wording import assert_tells, telling

TEMPERATURES = ["20,5", "21,7", "19,25", *(f"2{i % 10},{i}" for i in range(30))]


def settings(path: Path, **more: Any) -> CsvSettings:
    return CsvSettings.model_validate({"source": "csv", "path": str(path), **more})


def read(folder: Path, header: str, rows: list[str], **more: Any) -> tuple[Samples, list[Finding]]:
    """The samples, and what `--check` warns of."""
    file = folder / "a.csv"
    file.write_text("\n".join([header, *rows, ""]))
    data = settings(file, **more)
    samples = open_source(data).read()
    return samples, list(assess(samples, data, None).warnings)


def test_a_column_that_may_be_torn_apart_is_told_with_both_settings(tmp_path: Path) -> None:
    samples, warned = read(tmp_path, "temp,", TEMPERATURES)
    assert samples.columns == ("temp", "")
    (found,) = warned
    assert found.kind == "decimal comma"
    told = str(found)
    assert_tells(told, "column 'temp' ", "20,5", "20 and 5", "20.5", f"{tmp_path}/a.csv: line 2")
    assert_tells(told, '[data] separator = ";", skip = 1, columns = ["temp"]', '[data] separator = ","')


def test_each_of_the_settings_ends_it(tmp_path: Path) -> None:
    samples, warned = read(tmp_path, "temp,", TEMPERATURES, separator=",")
    assert (samples.columns, warned) == (("temp", ""), [])
    samples, warned = read(tmp_path, "temp,", TEMPERATURES, separator=";", skip=1, columns=("temp",))
    assert (samples.columns, warned) == (("temp",), [])
    np.testing.assert_array_equal(samples.X[:3, 0], np.array([20.5, 21.7, 19.25], np.float32))


@pytest.mark.parametrize(
    ("header", "more"),
    [("time,temp,", "2026-05-01T12:00:00Z,{}"), ("temp,,hum,", "{},60,2"), ("n,temp,", "7,{}")],
)
def test_wherever_the_column_stands(tmp_path: Path, header: str, more: str) -> None:
    _, warned = read(tmp_path, header, [more.format(row) for row in TEMPERATURES])
    pattern = telling("column 'temp'", "20,5", "20.5", "separator")
    assert any(re.search(pattern, str(one)) for one in warned if one.kind == "decimal comma")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (",temp", "{},20"),  # pandas' index
        ("temp,", "{}.5,20"),  # a point is the decimal sign
        ("temp,", "{},-5"),  # a sign begins a number
        ("temp,", "{},"),
        ("temp,hum", "{},5"),
    ],
)
def test_what_is_not_torn_is_left_in_peace(tmp_path: Path, header: str, row: str) -> None:
    _, warned = read(tmp_path, header, [row.format(20 + i) for i in range(30)])
    assert "decimal comma" not in {one.kind for one in warned}


def test_a_header_without_the_comma_gets_the_setting(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'\[data\] separator = ";"'):
        read(tmp_path, "temp", TEMPERATURES)
    samples, warned = read(tmp_path, "temp", TEMPERATURES, separator=";")
    np.testing.assert_array_equal(samples.X[:3, 0], np.array([20.5, 21.7, 19.25], np.float32))
    assert warned == []
