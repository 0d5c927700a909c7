"""Values that the owner excludes are missing values: in every source, in predictions too."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from agent.cli.check import check
from agent.config import AgentSettings
from agent.settings.data import DataSettings
from agent.settings.sources import CsvSettings
from agent.sources import open_source
from agent.sources.arrays import samples_from_arrays
from agent.sources.exclusions import exclude
from agent.sources.samples import Exclusion
from fedge.errors import ConfigError, DataError
from tests.wording import telling

VALUES = np.array([[21.5, 5], [-9999, 6], [85, -9999], [22, 65535], [np.nan, 7]])


def test_numbers_that_stand_for_no_reading() -> None:
    samples = samples_from_arrays("f", VALUES, features=["temp", "flow"])
    found = exclude(samples, DataSettings(missing_values=(-9999, 65535)))
    expected = [[21.5, 5], [np.nan, 6], [85, np.nan], [22, np.nan], [np.nan, 7]]
    np.testing.assert_array_equal(found.X, np.array(expected, np.float32))
    assert found.exclusions == (
        Exclusion(0, "-9999", 1, 1),
        Exclusion(1, "-9999", 1, 2),
        Exclusion(1, "65535", 1, 3),
    )
    np.testing.assert_array_equal(samples.X, np.float32(VALUES), "the source's own stay")


def test_numbers_in_a_csv_are_counted_and_placed_too(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("temp,label\n21.5,on\n-9999.0,on\ndefect,on\n-9999,off\n")
    settings = CsvSettings(source="csv", path=file, missing_values=(-9999, "defect"))
    samples = open_source(settings).read()
    assert samples.exclusions == (Exclusion(0, "-9999", 2, 1),)
    np.testing.assert_array_equal(samples.X[:, 0], [21.5, np.nan, np.nan, np.nan])


def test_a_range_is_of_one_column() -> None:
    samples = samples_from_arrays("f", VALUES, features=["temp", "flow"])
    settings = DataSettings(range={"temp": (-40, 60)}, missing_values=(-9999,))
    found = exclude(samples, settings)
    np.testing.assert_array_equal(np.isnan(found.X), [[0, 0], [1, 0], [1, 1], [0, 0], [1, 0]])
    assert Exclusion(0, "outside of -40 … 60", 1, 2) in found.exclusions, "-9999 was taken before"
    unnamed = exclude(samples_from_arrays("f", VALUES), DataSettings(range={"0": (-40, 60)}))
    assert np.isnan(unnamed.X[:, 0]).sum() == 3


def test_the_bounds_themselves_are_within() -> None:
    samples = samples_from_arrays("f", [[0.1], [0.7]])
    assert not exclude(samples, DataSettings(range={"0": (0.1, 0.7)})).exclusions


def test_float32_is_what_is_compared() -> None:
    samples = samples_from_arrays("f", [[4294967295.0], [-99.9]])
    assert np.isnan(exclude(samples, DataSettings(missing_values=(4294967295, -99.9))).X).all()


def test_answers_may_be_missing_too() -> None:
    settings = DataSettings(missing_values=(-9999,))
    targets = exclude(samples_from_arrays("f", np.zeros((2, 1)), [1.5, -9999.0]), settings)
    assert targets.y is not None
    np.testing.assert_array_equal(targets.y, [1.5, np.nan])
    texts = exclude(
        samples_from_arrays("f", np.zeros((3, 1)), ["on", "-9999", "Unknown"]),
        DataSettings(missing_values=(-9999, "unknown")),
    )
    assert texts.y is not None
    assert texts.y.tolist() == ["on", "-9999", ""], "a class may be called by a number"
    assert texts.exclusions == (Exclusion(None, "unknown", 1, 2),)
    labels = exclude(samples_from_arrays("f", np.zeros((2, 1)), [1, -9999]), settings)
    assert labels.unanswered is not None
    assert labels.unanswered.tolist() == [False, True]


def test_a_range_of_no_column_is_refused() -> None:
    samples = samples_from_arrays("f", VALUES, features=["temp", "flow"])
    with pytest.raises(DataError, match=telling("column 'tmp'", "[data] range", "temp")):
        exclude(samples, DataSettings(range={"tmp": (0, 1)}))
    exclude(samples, DataSettings(range={"tmp": (0, 1)}), all_columns=False)


def test_they_are_read_of_agent_toml(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("temp,label\n" + "21,on\n-9999,on\n99,off\n" * 3)
    (tmp_path / "agent.toml").write_text(
        'federation = "a"\ndevice = "b"\n[data]\nsource = "csv"\npath = "a.csv"\n'
        "missing_values = [-9999]\nrange = { temp = [-40, 85] }\n"
    )
    settings = AgentSettings.load(tmp_path / "agent.toml", {})
    samples = open_source(settings.data).read()
    column = samples.X[:, 0]
    np.testing.assert_array_equal(np.isnan(column), [False, True, True] * 3)


def test_a_csv_has_them_counted_once_and_labels_are_texts(tmp_path: Path) -> None:
    rows = "-9999,on\nDefect,85\n85,defect\n20,85\n" + "21,on\n" * 40
    (tmp_path / "a.csv").write_text("temp,label\n" + rows)
    (tmp_path / "agent.toml").write_text(
        'federation = "a"\ndevice = "b"\n[data]\nsource = "csv"\npath = "a.csv"\nmissing = "drop"\n'
        'missing_values = [-9999, 85, "defect"]\n'
    )
    settings = AgentSettings.load(tmp_path / "agent.toml", {})
    samples = open_source(settings.data).read()
    assert samples.y is not None
    assert samples.y[:5].tolist() == ["on", "85", "", "85", "on"]
    assert samples.unread == {}
    out = StringIO()
    check(settings, out, as_json=False)
    (said,) = [line for line in out.getvalue().splitlines() if "9999" in line]
    place = f"first: {tmp_path}/a.csv: line"
    assert said == (
        f"  excluded  1 values of 'temp' (-9999, {place} 2), 1 values of 'temp' (85, {place} 4)"
    ), "no word of the label's column"
    assert "85 (2 + 0)" not in out.getvalue(), "those rows are left out but one"
    assert "unread" not in out.getvalue()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "range = { temp = [85, -40] }",
            "[data.range] temp: ",
        ),
        ("missing_values = [nan]", "[data] missing_values: "),
        (
            "holdout = { part = 0.2, by = 'times' }",
            "[data.holdout] by: ",
        ),
        ("holdout = { by = 'every', prt = 0.1 }", "[data.holdout] prt: "),
        ("first_class = 2", "[data] first_class: "),
        ("unknown_labels = 'ignore'", "[data] unknown_labels: "),
    ],
)
def test_what_is_written_wrongly_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(f'federation = "a"\ndevice = "b"\n[data]\nsource = "npz"\npath = "a.npz"\n{line}\n')
    with pytest.raises(ConfigError) as caught:
        AgentSettings.load(file, {})
    assert said in str(caught.value)
