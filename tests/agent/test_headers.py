"""The first line of a CSV: names, or values already; and names that stand in the configuration."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.config import AgentSettings
from agent.data.dataset import fit
from agent.data.unfit import Unfit
from agent.sources import CsvSource
from agent.sources.header import looks_like_data
from fedge.errors import ConfigError, DataError
from tests.agent.test_dataset import ALL, N, classifier, regression
from tests.wording import assert_tells, telling

NAMES = [
    "x",
    "time,heat,label",
    "PM2.5,T_10cm,2nd,label",
    "Na,K,Mg,nan,inf,none,-",
    "0,1,2,3,label",
    "1,2,3,label",
    ",0,1,2",
    "label,0",
    "country,2019,2020,2021",
    "country,2020-01-22,2020-01-23",
    "1/22/20,1/23/20",
    "12:30,12:45",
    "sensor=a b=c",
    "1_000,0x10,007a",
    "",
]
VALUES = [
    "1458229140,weather,garden-of-anna,30.0,100",
    "1458229140,weather,garden",
    "21.7,walk",
    "-1,walk",
    "1e3,walk",
    ".5,walk",
    "walk,5.",
    "1.000000000000000000e+00,2.000000000000000000e+00",
    "3,7,walk",
    "2,1,walk",
    "1,1,walk",
    "0,0,0,1,0",
    "007,walk",
    "10000,walk",
    "512,walk",
    "5,6,walk",
    "99999999999999999999999,walk",
    "2024-05-01 12:00:00,on,kitchen",
    "2024-05-01T12:00:00Z,on,kitchen",
]


@pytest.mark.parametrize("line", NAMES)
def test_these_are_names(line: str) -> None:
    assert not looks_like_data(line.split(","))


@pytest.mark.parametrize("line", VALUES)
def test_these_are_values(line: str) -> None:
    assert looks_like_data(line.split(","))


def source(folder: Path, text: str, **how: Any) -> CsvSource:
    (folder / "a.csv").write_text(text)
    return CsvSource(folder / "a.csv", **{"label": "label", **how})


def test_who_asks_for_numbers_as_names_gets_them(tmp_path: Path) -> None:
    pixels = source(tmp_path, "0,1,label\n" + "5,6,walk\n" * N).read()
    assert pixels.nameless is None
    assert len(fit(pixels, classifier("walk", "run", features=("0", "1")), ALL).X) == N
    spectra = source(tmp_path, "1100.5,1102.5,label\n" + "5,6,walk\n" * N).read()
    assert spectra.nameless is not None, "only a task can tell"
    assert len(fit(spectra, classifier("walk", "run", features=("1102.5", "1100.5")), ALL).X) == N
    with pytest.raises(Unfit, match=telling("a.csv: line 1 ", "[data] columns = ")):
        fit(spectra, classifier("walk", "run"), ALL)
    with pytest.raises(Unfit, match=telling("a.csv: line 1 ", "[data] columns = ")):
        fit(spectra, regression("t", features=("1102.5",)), ALL)


def test_the_line_is_the_first_that_is_not_empty(tmp_path: Path) -> None:
    nameless = source(tmp_path, "\n\n1.5,2,walk\n3,4,run\n").read().nameless
    assert_tells(str(nameless), f"{tmp_path}/a.csv: line 3 ")


def test_columns_are_named_in_the_configuration(tmp_path: Path) -> None:
    rows = "1.5,2,walk\n-3,4,run\n"
    columns = ("v", "u", "label")
    named = source(tmp_path, rows, columns=columns).read()
    with_header = source(tmp_path, "v,u,label\n" + rows).read()
    for samples in (named, with_header):
        assert samples.columns == columns
        np.testing.assert_array_equal(samples.X[:, :2], np.float32([[1.5, 2], [-3, 4]]))
        assert samples.y is not None
        assert samples.y.tolist() == ["walk", "run"]
        assert samples.nameless is None
    assert named.lines is not None
    assert named.lines.tolist() == [1, 2]


def test_a_line_that_repeats_the_names_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("v , u\n1,2\n")  # the first file of a log that was rotated
    (tmp_path / "2.csv").write_text("4,3\n5,6\n")
    (tmp_path / "3.csv").write_text("")
    samples = CsvSource(tmp_path, columns=("v", "u")).read()
    np.testing.assert_array_equal(samples.X, np.float32([[1, 2], [4, 3], [5, 6]]))
    assert [samples.place(i) for i in range(3)] == [
        f"{tmp_path}/{place}" for place in ("1.csv: line 2", "2.csv: line 1", "2.csv: line 2")
    ]
    with pytest.raises(DataError, match=telling("2.csv: line 1 ", "[data] columns")):
        CsvSource(tmp_path).read()


@pytest.mark.parametrize(
    ("text", "columns", "facts"),
    [
        ("1,2,walk\n", ("u", "v"), ("line 1: ", "3 cells", "[data] columns", "2 columns")),
        ("1\n", ("u", "v"), ("line 1: ", "1 cells", "[data] columns", "2 columns")),
        ("1,2\n\n1,2,3\n", ("u", "v"), ("line 3: ", "3 cells", "[data] columns", "2 columns")),
        ("v,u\n1,2\n", ("u", "v"), ("line 1: ", "[data] columns", "order")),
        ("", ("u", "v"), ("no rows",)),
        ("u,v\n", ("u", "v"), ("no rows",)),
    ],
)
def test_columns_that_do_not_fit_are_explained(
    tmp_path: Path, text: str, columns: tuple[str, ...], facts: tuple[str, ...]
) -> None:
    with pytest.raises(DataError) as caught:
        source(tmp_path, text, columns=columns).read()
    assert_tells(str(caught.value), f"{tmp_path}/a.csv: ", *facts)


def test_one_column_without_a_header(tmp_path: Path) -> None:
    samples = source(tmp_path, '""\n5\n', columns=("u",)).read()
    np.testing.assert_array_equal(samples.X, np.float32([[np.nan], [5]]))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "weather,location=us-midwest temperature=82 1465839830100400200",
            "InfluxDB",
        ),
        ("weather temperature=82,bug=98i 1465839830100400200", "InfluxDB"),
    ],
)
def test_what_is_no_csv_is_called_by_its_name(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        source(tmp_path, f"{line}\n{line}\n").read()
    assert_tells(str(caught.value), f"{tmp_path}/a.csv: line 1: ", message)


def load(folder: Path, more: str) -> AgentSettings:
    (folder / "agent.toml").write_text(
        f'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "csv"\npath = "a.csv"\n{more}\n'
    )
    return AgentSettings.load(folder / "agent.toml", {})


def test_the_configuration_of_columns(tmp_path: Path) -> None:
    data = load(tmp_path, 'columns = ["u", "v", "run"]\nseries = "run"').data
    assert data.columns == ("u", "v", "run")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('columns = ["u", "u"]', "[data] columns: "),
        ('columns = ["u", " v"]', "[data] columns: "),
        ('columns = ["u", ""]', "[data] columns: "),
        ("columns = []", "[data] columns: "),
        ('columns = ["u"]\nseries = "run"', "[data] series: "),
    ],
)
def test_wrong_columns_are_explained(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, more)
    assert message in str(caught.value)
