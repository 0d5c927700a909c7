"""How a CSV is understood: its signs, its bad lines, its order; and what is never chosen silently."""

import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.cli.check import check
from agent.cli.predict import predict
from agent.config import AgentSettings
from agent.data.assessment import assess
from agent.data.dataset import fit
from agent.data.unfit import Unfit
from agent.settings.data import DataSettings
from agent.sources import CsvSource, Samples
from agent.sources.decimals import Style
from agent.sources.exclusions import exclude
from agent.sources.form_settings import FormSettings
from agent.sources.times import Times, order, seconds
from agent.sources.units import holds_units
from agent.trainers.worker import Worker
from fedge.errors import ConfigError, DataError
from fedge.wire.reasons import Reason
from tests.agent.test_canaries import survey
from tests.agent.test_dataset import ALL, N, classifier
from tests.agent.test_predict import CLASSIFIER, STEP, hold
from tests.wording import assert_tells

NAN = float("nan")


def read(folder: Path, content: str | bytes, label: str | None = "label", **said: Any) -> Samples:
    file = folder / "a.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    columns, series = said.pop("columns", None), said.pop("series", None)
    return CsvSource(file, label, series, columns, form=FormSettings(**said)).read()


def column(samples: Samples, name: str) -> list[float]:
    assert samples.columns is not None
    assert samples.columns.index(name) not in samples.faults, samples.faults
    return [round(float(value), 4) for value in samples.X[:, samples.columns.index(name)]]


# Decimal and thousands


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["0,5", "1,234"], [0.5, 1.234]),
        (["-3,27", "1.234"], [-3.27, None]),
        (["12,3456", "1.234,5"], [12.3456, 1234.5]),
        (["1.234.567", "1,5"], [1234567, 1.5]),
        (["0.5", "1.234"], [0.5, 1.234]),
        (["21.7", "1,234"], [21.7, None]),
        (["1,234.5", "1,234"], [1234.5, 1234]),
        (["1,234,567", "0.5"], [1234567, 0.5]),
        (["1,234", "7"], [None, 7]),
        (["1.234", "7"], [None, 7]),
        (["1,234e1", "7"], [12.34, 7]),
        (["+0,25", ""], [0.25, NAN]),
    ],
)
def test_a_cell_that_proves_it_decides_for_its_file(
    tmp_path: Path, cells: list[str], values: list[float | None]
) -> None:
    samples = read(tmp_path, "u;v\n" + "".join(f"{cell};1\n" for cell in cells))
    if None not in values:
        np.testing.assert_array_equal(
            samples.X[:, 0], np.array([value for value in values if value is not None], dtype=np.float32)
        )
        return
    assert "[data] decimal" in samples.faults[0].text, "both readings are possible, so none is taken"
    assert not any("[data] decimal" in sentence for sentence in samples.reading), "the column's fault says it"
    judged = assess(samples, DataSettings(), None)
    assert ["[data] decimal" in str(one) for one in judged.warnings if one.kind == "cannot be used"] == [True]


def test_one_column_proves_it_for_another_but_two_signs_do_not_mix(tmp_path: Path) -> None:
    samples = read(tmp_path, "u;v\n1,234;0,5\n2,345;1\n")
    assert column(samples, "u") == [1.234, 2.345]
    samples = read(tmp_path, "u;v;w\n1,234;0,5;0.5\n2,345;1;7.25\n")
    assert column(samples, "v") == [0.5, 1], "each column by its own cells"
    assert column(samples, "w") == [0.5, 7.25]
    assert "may be a decimal comma" in samples.faults[0].text
    (told,) = (sentence for sentence in samples.reading if "decimal" in sentence and "'v'" in sentence)
    assert "column 'v' in line 2" in told
    assert "column 'w' in line 2" in told
    both = read(tmp_path, "u;v\n0,5;1\n0.5;1\n")
    assert_tells(both.faults[0].what, "commas", "points", "line 3")


def test_one_comma_among_points_is_one_bad_cell(tmp_path: Path) -> None:
    samples = read(tmp_path, 'u,v\n0.5,1\n"0,5",1\n1.234,1\n')
    np.testing.assert_array_equal(samples.X[:, 0], np.array([0.5, NAN, 1.234], dtype=np.float32))
    assert samples.faults == {}
    assert_tells(samples.unread[0].first.what, "number", "point")


def test_an_address_decides_for_no_other_column(tmp_path: Path) -> None:
    rows = "".join(f'192.168.100.{n},2{n % 3}.37{n % 9},"in, out"\n' for n in range(100, 130))
    samples = read(tmp_path, "address,heat,where\n" + rows)
    assert column(samples, "heat")[:2] == [21.371, 22.372], "as ever between commas"
    samples = read(tmp_path, "heat;version\n21.375;1.100.200\n22.125;1.100.201\n")
    assert "[data] decimal" in samples.faults[0].text
    samples = read(tmp_path, "heat;rain;version\n21.375;0,5;1.100.200\n22.125;1,5;1.100.201\n")
    assert "[data] decimal" in samples.faults[0].text, "commas are proven, but no points between thousands"
    assert column(samples, "rain") == [0.5, 1.5]


def test_what_is_said_is_not_looked_for(tmp_path: Path) -> None:
    text = "u;v\n1,234;2.345\n"
    assert column(read(tmp_path, text, decimal=","), "u") == [1.234]
    assert column(read(tmp_path, text, decimal=","), "v") == [2345]
    assert column(read(tmp_path, text, decimal="."), "u") == [1234]
    assert column(read(tmp_path, text, thousands="."), "v") == [2345]
    assert column(read(tmp_path, "u;v\n1'234,5;1\n0,5;2\n", thousands="'"), "u") == [1234.5, 0.5]
    assert read(tmp_path, "u;v\n1,5;1\n2;2\n", decimal=".").unread[0].count == 1, "no group of three"


def test_commas_between_cells_leave_points_for_decimals(tmp_path: Path) -> None:
    assert column(read(tmp_path, "u,v\n1.234,1\n2.345,2\n"), "u") == [1.234, 2.345], "as ever"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9))
def test_a_decimal_comma_gives_what_a_point_does_or_is_refused(tmp_path: Path, values: list[float]) -> None:
    cells = [str(np.float32(value)).replace(".", ",") for value in values]
    samples = read(tmp_path, "u;v\n" + "".join(f"{cell};1\n" for cell in cells))
    if 0 not in samples.faults:
        np.testing.assert_array_equal(samples.X[:, 0], np.array(values, dtype=np.float32))
    else:
        assert "[data] decimal" in samples.faults[0].text


def test_digits_in_groups() -> None:
    assert Style(".", ",").numbers(["1,234,567.5", "12"]).tolist() == [1234567.5, 12]
    for cell in ("12,34", "1,2345", "1234,567", ",123", "1_000"):
        with pytest.raises(ValueError):  # noqa: PT011 (whatever `float` says)
            Style(".", ",").number(cell)
    with pytest.raises(ValueError):  # noqa: PT011
        Style(",", "").number("1.5")


# Separators


def test_separators_that_fit(tmp_path: Path) -> None:
    for sign in (";", "\t", "|", ","):
        samples = read(tmp_path, f"u{sign}v{sign}label\n0.5{sign}2{sign}walk\n1.5{sign}3{sign}run\n")
        assert column(samples, "u") == [0.5, 1.5]
        assert samples.y is not None
        assert samples.y.tolist() == ["walk", "run"]
    assert column(read(tmp_path, " u   v\n 0.5 \t 2\n\n1.5 3 \n"), "v") == [2, 3]
    assert column(read(tmp_path, "u#v\n1#2\n", separator="#"), "v") == [2]
    assert column(read(tmp_path, "one name alone\n1\n2\n"), "one name alone") == [1, 2]


def test_decimal_commas_without_a_header_are_no_separators(tmp_path: Path) -> None:
    samples = read(tmp_path, "1,5;2,5;walk\n0,5;3,5;run\n", columns=("u", "v", "label"))
    assert column(samples, "u") == [1.5, 0.5]
    with pytest.raises(DataError, match=r"comma .*semicolon.* \[data\] separ"):
        read(tmp_path, "5,a;7\n6,b;8\n", columns=("u", "v"))
    assert column(read(tmp_path, "1,2;3,4\n5,6;7,8\n", columns=("u", "v")), "u") == [1.2, 5.6]


def test_nobody_is_told_to_delete_the_header(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: has 3 cells, the header has 1 columns") as caught:
        read(tmp_path, "export of 2026-05-01\nu,v,label\n" + "walk,run,walk\n" * 9)
    assert "delete the line" not in str(caught.value)
    assert "if the header stands elsewhere, say [data] skip" in str(caught.value)
    with pytest.raises(DataError, match=r"line 2 looks like the header: say \[data\] skip = 1"):
        read(tmp_path, "export of 2026-05-01\nu,v,label\n" + "1,2,walk\n" * 9)


def test_spaces_without_a_header(tmp_path: Path) -> None:
    assert column(read(tmp_path, "0.5 2\n1.5 3\n", columns=("u", "v")), "v") == [2, 3]


def test_decimal_commas_between_commas_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2: .*4 cells.* 2 columns.* comma"):
        read(tmp_path, "u,v\n0,5,1,5\n1,5,2,5\n")


# Lines that are no rows


def test_lines_that_cannot_be_read_are_left_out_and_counted(tmp_path: Path) -> None:
    good = [f"{i},{i}.5,walk" for i in range(90)]
    bad = [b"\0\0\0\0", b"1,2", b"1,2,3,4", b"1,\xff,walk", b'1,"2,walk', b'1,"2"3,walk']
    lines = [b"u,v,label", *(line.encode() for line in good)]
    for i, line in enumerate(bad):
        lines.insert(5 + 10 * i, line)
    content = b"\n".join(lines) + b"\n"
    samples = read(tmp_path, content, max_bad=0.1)
    assert column(samples, "u") == list(range(90)), "and no other line with them"
    assert samples.left_out is not None
    assert (samples.left_out.lines, samples.left_out.of) == (6, 96)
    file = tmp_path / "a.csv"
    assert_tells(samples.left_out.text, "6 of 96 rows", f"{file}: line 6: ", "NUL")
    assert_tells(samples.left_out.public, "6 of 96 rows", "line 6: ", "NUL")
    assert str(file) not in samples.left_out.public
    assert samples.notes(()) == (samples.left_out.text,)
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    assert_tells(str(caught.value), "line 6: ", "NUL", "6 of 96 rows", "[data] max_bad = 0.05")
    assert_tells(caught.value.public, "line 6: ", "NUL", "6 of 96 rows", "[data] max_bad")


def test_not_a_single_one_if_its_owner_says_so(tmp_path: Path) -> None:
    content = "u,v\n" + "1,2\n" * 100 + "1\n"
    samples = read(tmp_path, content)
    assert samples.left_out is not None
    with pytest.raises(DataError, match="line 102: has 1 cells"):
        read(tmp_path, content, max_bad=0.0)


def test_a_header_among_the_rows(tmp_path: Path) -> None:
    samples = read(tmp_path, "u,v,label\n1,2,walk\n\nu,v,label\n3,4,run\nlabel,v,u\nrun,6,5\n")
    assert column(samples, "u") == [1, 3, 5]
    assert samples.y is not None
    assert samples.y.tolist() == ["walk", "run", "run"]
    assert_tells(samples.reading[-1], "header", "line 4")
    assert column(read(tmp_path, "0,1,2\n0,1,2\n0,1,2\n"), "1") == [1, 1], "numbers are no header again"
    assert column(read(tmp_path, "0.5,1.5\n0.5,1.5\n0.5,1.5\n"), "1.5") == [1.5, 1.5]


def test_separators_alone_are_no_row(tmp_path: Path) -> None:
    samples = read(tmp_path, "u;v\n1;2\n;\n;\n")
    assert len(samples.X) == 1
    assert_tells(samples.reading[-1], "2 lines", "separators")


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([["s", "degC", ""], ["0", "1,5", "walk"], ["1", "2", "run"]], True),
        ([["", "%", "m/s"], ["a", "1", "2"], ["b", "3", "4"]], True),
        ([["0", "degC", "m/s"], ["0", "1", "2"], ["0", "1", "2"]], False),
        ([["", "", ""], ["0", "1", "2"], ["0", "1", "2"]], False),
        ([["n/a", "n/a", "walk"], ["0", "1", "walk"], ["0", "1", "run"]], False),
        ([["walk", "run", "sit"], ["walk", "walk", "walk"], ["sit", "sit", "sit"]], False),
        ([["s", "degC", "m/s"], ["0", "1", "2"]], False),
    ],
)
def test_units_below_the_header(rows: list[list[str]], found: bool) -> None:
    assert holds_units([["t", "u", "v"], *rows]) == found


@pytest.mark.parametrize(
    "first", [["2024-01-01 00:00:00", "offline", "x"], ["", "offline", "walk"], ["", "initial", "sit"]]
)
def test_a_first_row_with_a_word_is_no_row_of_units(first: list[str]) -> None:
    rows = [[f"2024-01-01 00:00:{n}", f"2{n}.5", ("walk", "sit")[n % 2]] for n in range(1, 9)]
    assert not holds_units([["t", "u", "v"], first, *rows])
    assert holds_units([["t", "u", "v"], ["TS", "degC", ""], *rows])


def test_units_are_a_row_where_the_owner_says_so(tmp_path: Path) -> None:
    text = "u,v\ndegC,%\n1,2\n3,4\n"
    assert column(read(tmp_path, text), "u") == [1, 3]
    samples = read(tmp_path, text, units_row=False)
    assert (len(samples.X), samples.unread[0].count) == (3, 1)
    assert column(read(tmp_path, "u,v\n9,9\n1,2\n", units_row=True), "u") == [1]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("# made today\n# by hand, twice\nu,v\n1,2\n", ("u", "v")),
        ("# made by hand\n\nu,v\n# again\n1,2\n", ("u", "v")),
        ("#u,v\n1,2\n", ("#u", "v")),
        ("# a, b\nu,v\n1,2\n", ("u", "v")),
    ],
)
def test_comments_are_no_header_and_a_header_is_no_comment(
    tmp_path: Path, text: str, columns: tuple[str, ...]
) -> None:
    samples = read(tmp_path, text)
    assert samples.columns == columns
    assert samples.X.tolist() == [[1, 2]]


def test_the_last_comment_may_name_the_columns(tmp_path: Path) -> None:
    assert read(tmp_path, "% made today\n% u v\n0.5 2\n1.5 3\n", comment="%").columns == ("u", "v")
    assert read(tmp_path, "u,v\n1,2\n% 3,4\n", comment="%").X.tolist() == [[1, 2]]


# No reading


def test_missing_values_are_texts_and_numbers(tmp_path: Path) -> None:
    text = "u,v,label\n-9999,1,walk\n-9999.0,Err,run\n85,unavailable,none\n85.5,ERR,?\n"
    values = (-9999, 85, "err", "None")
    samples = exclude(read(tmp_path, text, missing_values=values), DataSettings(missing_values=values))
    np.testing.assert_array_equal(samples.X[:, 0], np.array([NAN, NAN, NAN, 85.5], dtype=np.float32))
    np.testing.assert_array_equal(samples.X[:, 1], np.array([1, NAN, NAN, NAN], dtype=np.float32))
    assert samples.unread == {}
    assert samples.y is not None
    assert samples.y.tolist() == ["walk", "run", "", "?"], "of labels only what the owner says, as a text"
    assert read(tmp_path, text).y.tolist() == ["walk", "run", "none", "?"]  # type: ignore[union-attr]


def test_a_name_that_is_not_utf_8_does_not_spoil_the_others(tmp_path: Path) -> None:
    samples = read(tmp_path, "u,in °C,v\n1,2,3\n".encode("latin-1"))
    assert samples.columns == ("u", "in \N{REPLACEMENT CHARACTER}C", "v")
    assert column(samples, "v") == [3]


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
    assert samples.reading[-1] == (
        "rows are in the order of column 't', not as they stand; "
        "1 rows without a time stay behind the row before them"
    )


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
    with pytest.raises(DataError, match=r"line 1: there is no column 'when', which \[data\] time names"):
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
    with pytest.raises(
        Unfit, match=r"1\.csv: line 1: there is no column 'new', which .*2\.csv has"
    ) as caught:
        fit(samples, classifier("walk", "run", features=("u", "new")), ALL)
    assert caught.value.reason is Reason.BAD_DATA
    assert samples.reading == (
        "1.csv: separated by commas",
        "2.csv: separated by a semicolon: the lines have 5 cells each then",
    )


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
    with pytest.raises(DataError, match=r"a\.parquet: this is no CSV but a Parquet file; write it as CSV"):
        CsvSource(tmp_path).read()


def test_two_recordings_of_one_sensor_are_rows(tmp_path: Path) -> None:
    for name, first in (("Accelerometer-1", 10), ("Accelerometer-2", 20)):
        rows = "".join(f"{first + i},{i},{first + i}\n" for i in range(3))
        (tmp_path / f"{name}.csv").write_text(f"time,seconds_elapsed,x\n{rows}")
    assert column(CsvSource(tmp_path).read(), "x") == [10, 11, 12, 20, 21, 22]


# JSON lines


def test_lines_that_are_no_objects(tmp_path: Path) -> None:
    good = '{"u": 1, "v": "2.5", "label": "walk"}\n'
    bad = ['{"u": 1', "[1, 2]", "7", '{"u": 1, "u": 2}', "\0\0\0"]
    samples = read(tmp_path, good * 100 + "\n".join(bad) + "\n" + good)
    assert samples.left_out is not None
    assert (samples.left_out.lines, len(samples.X)) == (5, 101)
    assert "line 101: not a JSON object with each key once" in samples.left_out.text
    assert column(samples, "v") == [2.5] * 101


def test_keys_that_hold_times_are_no_columns(tmp_path: Path) -> None:
    lines = [json.dumps({f"12:{n // 60:02}:{n % 60:02}": 21.5, "label": "walk"}) for n in range(300)]
    with pytest.raises(DataError, match=r"301 different keys, on average 2\.0 each: a key"):
        read(tmp_path, "\n".join(lines) + "\n")
    wide = json.dumps({f"x{n}": n for n in range(300)})
    assert read(tmp_path, f"{wide}\n{wide}\n").X.shape == (2, 300)
    few = "".join(json.dumps({f"x{n % 100}": n}) + "\n" for n in range(200))
    assert read(tmp_path, few).X.shape == (200, 100), "a message for each of a hundred sensors"


def test_truth_is_one_and_a_class_of_its_own(tmp_path: Path) -> None:
    samples = read(tmp_path, '{"on": true, "label": true}\n{"on": false, "label": false}\n')
    assert column(samples, "on") == [1, 0]
    assert samples.y is not None
    assert samples.y.tolist() == ["true", "false"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.dictionaries(
            st.sampled_from("uvw"),
            st.floats(allow_infinity=False, allow_nan=False, width=32) | st.none(),
            min_size=1,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_json_gives_back_what_was_written(tmp_path: Path, rows: list[dict[str, float | None]]) -> None:
    samples = read(tmp_path, "".join(json.dumps(row) + "\n" for row in rows))
    for j, name in enumerate(samples.columns or ()):
        values = [NAN if row.get(name) is None else row[name] for row in rows]
        np.testing.assert_array_equal(samples.X[:, j], np.array(values, dtype=np.float32))


# Whatever is in a file, it is read or refused


PIECES = (
    *("u", "v", "1", "0,5", "1.5", "1,234", ",", ";", "\t", " ", '"', "\n", "\r\n", "#", "{", "}", "[", "\0"),
    *("TOA5", "#datatype", "sep=;", "LabVIEW Measurement", "***End_of_Header***", "Channels", ":", "\xff"),
    *("entity_id,state,last_changed\n", "u,v\n", "1,2\n", "1;2\n"),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=40),
)
def test_nothing_else_is_raised(tmp_path: Path, pieces: list[str]) -> None:
    try:
        samples = read(tmp_path, "".join(pieces).encode("latin-1"))
    except DataError:
        return
    assert samples.columns is not None
    assert samples.X.shape == (sum(rows for _, rows in samples.blocks), len(set(samples.columns)))
    assert samples.lines is not None
    assert len(samples.lines) == len(samples.X)


# Who uses it


def settings_of(folder: Path, more: str) -> AgentSettings:
    (folder / "agent.toml").write_text(
        f'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "csv"\npath = "a.csv"\n{more}\n'
    )
    return AgentSettings.load(folder / "agent.toml", {})


def test_the_keys_of_the_dialect(tmp_path: Path) -> None:
    more = """
separator = "\\t"
decimal = ","
thousands = "."
skip = 2
comment = "//"
units_row = true
missing_values = [-9999, 85.0, "unavailable"]
time = "t"
max_bad = 0
"""
    data = settings_of(tmp_path, more).data
    assert FormSettings.of(data) == FormSettings("\t", ",", ".", 2, "//", True, ("unavailable",), "t", 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('separator = ";;"', "separator: String should have at most 1 character"),
        ("separator = '\"'", "separator: cannot be a quote or the end of a line"),
        ('decimal = "."\nthousands = "."', "thousands: is the decimal sign; they differ"),
        ("missing_values = [true]", "missing_values: must be numbers and texts in a list"),
        ("max_bad = 1", "max_bad: Input should be less than 1"),
        ("skip = -1", "skip: Input should be greater than or equal to 0"),
        ('columns = ["u"]\ntime = "t"', "time: there is no 't' among the columns"),
    ],
)
def test_wrong_keys_are_explained(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, more)
    assert message in str(caught.value)


def test_a_prediction_reads_the_same_dialect_and_leaves_no_row_out(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(
        'federation = "watch"\ndevice = "anna"\n[data]\nsource = "csv"\npath = "none"\nmissing = "drop"\n'
        'decimal = ","\nmissing_values = [-200]\ntime = "u"\n'
    )
    loaded = AgentSettings.load(tmp_path / "agent.toml", {})
    hold(tmp_path, CLASSIFIER, STEP)
    new = tmp_path / "new.csv"
    new.write_text("v;u\n0;12,000\n0;-200,0\n0;10,000\n")
    out = StringIO()
    predict(loaded, new, out, as_json=False)
    assert [line.split(",")[:2] for line in out.getvalue().splitlines()[1:]] == [["0", "run"], ["2", "walk"]]
    new.write_text("v;u\n" + "0;12,0\n" * 100 + "0\n")
    with pytest.raises(DataError, match="line 102: has 1 cells"):
        predict(loaded, new, out, as_json=False)


def test_the_agent_logs_what_it_could_not_read_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "".join(f"{i},0.{i},{'dry' if i % 2 else 'wet'}\n" for i in range(60))
    file = tmp_path / "a.csv"
    file.write_text("heat,rain,label,note\n" + rows.replace("\n", ",x\n") + "7,broken,dry,1\n\0\n")
    configured = settings_of(tmp_path, 'missing = "drop"')
    trainer = Worker(configured, {"data": CsvSource(file, "label")}, lambda _: None)
    job = survey(classes=("dry", "wet"))
    trainer.work(job)
    os.utime(file, ns=(1, 1))  # so that it is read anew, and nothing is new
    trainer.work(job)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        f"source data: 1 of 62 rows left out, first: {file}: line 63: NUL bytes, a power cut?",
        "source data: 1 of 61 values of column 'rain' count as missing, first: "
        f"{file}: line 62, column 'rain': not a number",
    ]
    with file.open("a") as stream:
        stream.write("8,broken,dry,1\n")
    trainer.work(job)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [text.split(", first")[0] for text in told[2:]] == [
        "source data: 1 of 63 rows left out",
        "source data: 2 of 62 values of column 'rain' count as missing",
    ]


def test_a_check_tells_how_files_are_understood(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u;v\n" + "0,5;1\n" * 30 + "2\n")
    out = StringIO()
    check(settings_of(tmp_path, ""), out, as_json=True)
    told = json.loads(out.getvalue())["uses"]["data"]
    assert told["read_as"].startswith(
        "separated by a semicolon: the lines have 2 cells each then; decimal commas, for column"
    )
    assert told["unreadable"].startswith("1 of 31 rows left out, first: ")
    text = StringIO()
    check(settings_of(tmp_path, ""), text, as_json=False)
    for said in ("separated by a semicolon", "1 of 31 rows left out"):
        assert text.getvalue().count(said) == 1, "it is told once"
