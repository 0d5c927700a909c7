"""Files as programs write them: read as they are, read with one setting, or refused with a text that helps.

The files of `formats/` were written by the programs themselves where these run without hardware (pandas 3.1,
polars 2.1, duckdb 2.0, NumPy, pyarrow 26, SciPy, h5py, openpyxl, sqlite3), else by their documented form,
with numbers that nobody measured. docs/data.md lists every one of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.settings.sources import CsvSettings
from agent.sources import Samples, open_source
from fedge.errors import DataError

FOLDER = Path(__file__).parent / "formats"
DOCUMENT = Path(__file__).parents[2] / "docs" / "data.md"
NAN = float("nan")

HEAT = (0.5, -3.27, 12.3456, 21.7, 0.25, 1013.25)
RAIN = (0.0, 1.5, 0.0, 2.25, 0.75, 10.0)
LABELS = ("dry", "wet", "dry", "wet", "wet", "wet")
WEATHER = {"heat": HEAT, "rain": RAIN}
GAPS = {"heat": (0.5, NAN, *HEAT[2:]), "rain": (0.0, 1.5, 0.0, NAN, 0.75, 10.0)}


@dataclass(frozen=True)
class Form:
    """How one file is read."""

    columns: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Some of its columns, and all their values."""
    labels: tuple[str, ...] | None = None
    setting: str = ""
    """What `[data]` must say, as the document has it; empty: nothing."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    """What is said without the setting."""


SENSOR = {"x": (0, 1, 2, 3), "y": (-0.25, -0.5, -0.75, -1.0), "z": (0.25, 0.5, 0.75, 1.0)}
VOLTS = {"Voltage_0": (-0.925293, -0.8125, 0.125, 1013.25), "Voltage_1": (1.25, 1.5, -2.75, 0.0)}
AIR = {
    "CO(GT)": (2.6, 2.0, NAN, 2.2, 1.6, 1.2),
    "PT08.S1(CO)": (1360, 1292, 1402, 1376, NAN, 1197),
    "C6H6(GT)": (11.9, 9.4, 9.0, 9.2, 6.5, NAN),
    "T": (13.6, 13.3, 11.9, NAN, 11.2, 11.2),
    "RH": (48.9, 47.7, NAN, 60.0, 59.6, 59.2),
    "AH": (0.7578, 0.7255, 0.7502, NAN, 0.7888, 0.7848),
}

FORMS = {
    # as they are
    "pandas.csv": Form(WEATHER, LABELS),
    "pandas_index.csv": Form({"": tuple(range(6)), **WEATHER}, LABELS),
    "polars.csv": Form(GAPS, LABELS),
    "duckdb.csv": Form(GAPS, LABELS),
    "semicolons_quoted.csv": Form(WEATHER, LABELS),
    "decimal_comma.csv": Form(WEATHER, LABELS),
    "decimal_comma_quoted.csv": Form(WEATHER, LABELS),
    "tabs.tsv": Form(WEATHER, LABELS),
    "savetxt_spaces.txt": Form(WEATHER, ("0", "1", "0", "1", "1", "1")),
    "excel_sep.csv": Form({"heat": (0.5, -3.27), "rain": (0, 1.5)}),
    "excel_errors.csv": Form({"heat": (0.5, NAN, 12.3456), "rain": (NAN, 1.5, 0.25)}, ("dry", "wet", "wet")),
    "postgres.csv": Form({"heat": (0.5, NAN, 12.3456), "rain": (0, 1.5, NAN)}, ("dry", "wet", "wet")),
    "thousands.csv": Form({"heat": (0.5, -3.27, 12.3456), "pressure": (1013.2, 987.6, 1009)}),
    "units_row.csv": Form(
        {"time": (0, 60, 120), "heat": (0.5, -3.27, 12.3456), "rain": (0, 1.5, 0.25)}, ("dry", "wet", "wet")
    ),
    "comments.csv": Form({"heat": (0.5, -3.27), "rain": (0, 1.5)}),
    "trailing_separators.csv": Form({"heat": (0.5, -3.27), "rain": (0, 1.5)}, ("dry", "wet")),
    "trailing_in_rows.csv": Form({"heat": (0.5, -3.27), "rain": (0, 1.5)}, ("dry", "wet")),
    "appended.csv": Form({"heat": (0.5, -3.27, 12.3456), "rain": (0, 1.5, 0.25)}),
    "power_cut.csv": Form({"heat": tuple(i + 0.5 for i in range(40)), "rain": tuple(range(40))}),
    "toa5.dat": Form(
        {
            "RECORD": (0, 1, 2),
            "BattV_Min": (12.81, 12.8, 12.79),
            "AirTC_Avg": (21.7, NAN, -3.27),
            "Rain_mm_Tot": (0, 0.254, 1.016),
        }
    ),
    "labview.lvm": Form({"X_Value": (0, 0.001, 0.002, 0.003), **VOLTS}),
    "labview_point.lvm": Form({"X_Value": (0, 0.001, 0.002, 0.003), **VOLTS}),
    "influx_annotated.csv": Form({"_value": (0.5, -3.27)}),
    "influx_tables.csv": Form({"_value": (0.5, -3.27, 12.3456, 21.7), "table": (0, 0, 1, 1)}),
    "telegraf_header.csv": Form({"heat": (0.5, -3.27, 12.3456), "rain": (0, 1.5, 0.25)}),
    "edge_impulse.csv": Form(
        {
            "timestamp": (0, 10, 20),
            "accX": (0.5, 0.25, 0.125),
            "accY": (-3.27, -3.5, -3.75),
            "accZ": (9.81, 9.75, 9.5),
        }
    ),
    "home_assistant.csv": Form({"state": (NAN, 21.7, NAN, -3.27)}),
    "mqtt.jsonl": Form(
        {
            "heat": (0.5, -3.27, 12.3456),
            "rain": (0, NAN, 1.5),
            "contact": (1, 0, NAN),
            "battery": (NAN, NAN, 87),
        },
        ("dry", "wet", "wet"),
    ),
    "json_lines.csv": Form({"heat": (0.5, NAN), "rain": (0, 1.5)}),
    # with one setting
    "air_quality_uci.csv": Form(AIR, None, "missing_values = [-200]", {"missing_values": (-200,)}),
    "sentinels.csv": Form(
        {"heat": (NAN, NAN, 12.3456, 21.7), "rain": (0, 1.5, NAN, NAN)},
        None,
        "missing_values = [85, -127, -9999, 65535]",
        {"missing_values": (85, -127, -9999, 65535)},
    ),
    "savetxt_header.csv": Form(
        WEATHER,
        ("0", "1", "0", "1", "1", "1"),
        'comment = "#"',
        {"comment": "#"},
        "the columns are # heat, rain",
    ),
    "savetxt.csv": Form(
        WEATHER,
        ("0.000000000000000000e+00", "1.000000000000000000e+00") * 2 + ("1.000000000000000000e+00",) * 2,
        'columns = ["heat", "rain", "label"]',
        {"columns": ("heat", "rain", "label")},
        "line 1 looks like data; name the columns",
    ),
    "no_header.csv": Form(
        {"heat": (0.5, -3.27), "rain": (0, 1.5)},
        ("dry", "wet"),
        'columns = ["heat", "rain", "label"]',
        {"columns": ("heat", "rain", "label")},
        "line 1 looks like data; name the columns",
    ),
    "telegraf.csv": Form(
        {"heat": (0.5, -3.27, NAN), "rain": (0, 1.5, 0.25)},
        None,
        'columns = ["time", "name", "host", "heat", "rain"]',
        {"columns": ("time", "name", "host", "heat", "rain")},
        "line 1 looks like data; name the columns",
    ),
    "preamble.csv": Form(
        {"heat": (0.5, -3.27), "rain": (0, 1.5)},
        None,
        "skip = 3",
        {"skip": 3},
        "line 4 looks like the header: set [data] skip = 3",
    ),
    "ambiguous.csv": Form(
        {"heat": (1.234, -3.27), "rain": (0, 1)},
        None,
        'decimal = ","',
        {"decimal": ","},
        "may be a decimal comma or stand between thousands; set which one it is: [data] decimal",
    ),
    "influx_fields.csv": Form(
        {"_value": (0.5, -3.27, 0.5, -3.27)},
        None,
        'series = "_field"',
        {"series": "_field"},
        "holds 2 kinds of readings in turn, and column '_field' says which",
    ),
    "home_assistant_climate.csv": Form(
        {"state": (21.7, 0.5, NAN, NAN), "temperature": (NAN, NAN, 20, 20)},
        None,
        'series = "entity_id"',
        {"series": "entity_id"},
        "holds 2 kinds of readings in turn, and column 'entity_id' says which",
    ),
    "unordered.csv": Form({"heat": (1, 2, 3)}, None, 'time = "time"', {"time": "time"}),
    "sensor_logger": Form(
        SENSOR,
        None,
        'path = "sensor_logger/Accelerometer.csv"',
        {"path": FOLDER / "sensor_logger" / "Accelerometer.csv"},
        "the files are sensors of one recording; they must be joined by time, not row by row",
    ),
    # not at all
    "table.parquet": Form(
        refused="this is no CSV but a Parquet file; write it as CSV: in Python, pandas.read_p"
    ),
    "table.feather": Form(refused="this is no CSV but an Arrow or Feather file; write it as CSV"),
    "table.arrows": Form(refused="this is no CSV but a stream of Arrow; write it as CSV"),
    "matlab_v5.mat": Form(refused="this is no CSV but a MATLAB file (v5); write it as CSV: in MATLAB"),
    "matlab_v73.mat": Form(
        refused="this is no CSV but a MATLAB file (v7.3, HDF5); write it as CSV: in MATLAB"
    ),
    "table.h5": Form(refused="this is no CSV but an HDF5 file; read it with h5py in a function of yours"),
    "table.xlsx": Form(refused="this is no CSV but an Excel file (xlsx); save it as CSV in UTF-8"),
    "table.sqlite": Form(refused="this is no CSV but an SQLite database; write a table as CSV: sqlite3"),
    "data.csv.gz": Form(refused="this is no CSV but compressed with gzip; unpack it with gunzip"),
    "data.zip": Form(refused="this is no CSV but a zip archive; unpack it with unzip"),
    "utf16.csv": Form(refused="line 1: not UTF-8 but UTF-16; save the file as CSV in UTF-8"),
    "latin_1.csv": Form(refused="line 2: not UTF-8; save the file as CSV in UTF-8"),
    "json_array.json": Form(
        refused="line 1: JSON, but not an object in each line; write one object in each line"
    ),
    "line_protocol.txt": Form(
        refused="line 1: this is InfluxDB's line protocol, not CSV; configure its writer for CSV"
    ),
}


def read(name: str, settings: Mapping[str, Any]) -> Samples:
    return open_source(CsvSettings(source="csv", **{"path": FOLDER / name, **settings})).read()


def refusal(name: str) -> str:
    """What is said of a file without a setting: by reading it, or to who asks for its columns."""
    try:
        samples = read(name, {})
    except DataError as error:
        return str(error)
    said = [fault.text for fault in samples.faults.values()]
    if samples.nameless is not None:
        said.append(str(samples.nameless))
    return "\n".join((*said, f"the columns are {', '.join(samples.columns or ())}"))


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.columns])
def test_the_right_numbers(name: str) -> None:
    form = FORMS[name]
    samples = read(name, form.settings)
    assert samples.columns is not None
    for column, values in form.columns.items():
        j = samples.columns.index(column)
        assert j not in samples.faults, samples.faults[j].text
        np.testing.assert_array_equal(samples.X[:, j], np.array(values, dtype=np.float32), err_msg=column)
    assert (None if samples.y is None else tuple(samples.y.tolist())) == form.labels
    assert samples.reading, "the owner is told how it was understood"


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.refused])
def test_the_right_message(name: str) -> None:
    said = refusal(name)
    assert FORMS[name].refused in said
    assert "21.7" not in said, "the text of no cell"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "name",
    [name for name, form in FORMS.items() if form.columns and (FOLDER / name).is_file()],
)
def test_any_end_of_lines_and_any_cut(name: str, end: str, tmp_path: Path) -> None:
    """A growing file is cut anywhere: what is there is read, or refused, and nothing else is raised."""
    lines = (FOLDER / name).read_bytes().splitlines()
    content = end.encode().join(lines) + end.encode()
    copy = tmp_path / name
    copy.write_bytes(content)
    settings = {**FORMS[name].settings, "path": copy}
    whole = open_source(CsvSettings(source="csv", **settings)).read()
    np.testing.assert_array_equal(whole.X, read(name, FORMS[name].settings).X)
    for size in range(0, len(content) if end == "\r\n" else 0, 53):
        copy.write_bytes(content[:size])
        try:
            part = open_source(CsvSettings(source="csv", **settings)).read()
        except DataError:
            continue
        assert len(part.X) <= len(whole.X)


# docs/data.md


def listed(title: str) -> dict[str, str]:
    """A table of the document: the file, and the rest of its row."""
    (table,) = re.findall(
        rf"^### {title}$\n(.*?)(?=^##|\Z)", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S
    )
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", table, re.M)
    return dict(rows)


def test_the_document_lists_every_file_and_no_other() -> None:
    as_it_is = {name for name, form in FORMS.items() if form.columns and not form.setting}
    with_setting = {name for name, form in FORMS.items() if form.setting}
    refused = {name for name, form in FORMS.items() if not form.columns}
    assert listed("Read as they are").keys() == as_it_is
    assert listed("Read with a setting").keys() == with_setting
    assert listed("Refused").keys() == refused
    assert {file.name for file in FOLDER.iterdir()} == FORMS.keys()


def test_the_document_says_what_the_program_does() -> None:
    for name, row in listed("Read with a setting").items():
        assert f"`{FORMS[name].setting}`" in row, name
    for name, row in listed("Refused").items():
        (said,) = re.findall(r"`([^`]+)`$", row)
        assert said in refusal(name), name


def test_the_document_explains_every_key() -> None:
    keys = re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.M)
    own = set(CsvSettings.model_fields) - set(CsvSettings.__bases__[0].model_fields) - {"source"}  # type: ignore[attr-defined]
    assert own <= set(keys)
