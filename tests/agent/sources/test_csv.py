"""CSV files, right and wrong. Every error names the file, where in it, and what to do; never a value."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agent.sources import CsvSource, Samples
from fedge.errors import DataError
from tests.agent.sources.files import SECRET, texts
from tests.wording import assert_tells, telling


def csv_of(folder: Path, content: str | bytes, **options: Any) -> Samples:
    file = folder / "a.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return CsvSource(file, **{"label": "label", **options}).read()


# CSV


def test_csv_columns_labels_and_lines(tmp_path: Path) -> None:
    samples = csv_of(tmp_path, "x,label,y\n1,walk,2.5\n-3e2,run,4\n")
    assert samples.columns == ("x", "label", "y")
    np.testing.assert_array_equal(samples.X[:, [0, 2]], np.array([[1, 2.5], [-300, 4]], dtype=np.float32))
    assert samples.X.dtype == np.float32
    assert samples.y is not None
    assert samples.y.tolist() == ["walk", "run"]
    assert [samples.place(i) for i in (0, 1)] == [f"{tmp_path}/a.csv: line {line}" for line in (2, 3)]
    assert samples.series.tolist() == [0, 0]


@pytest.mark.parametrize(
    "content",
    [
        b"x,label\n1,walk\n2,run\n",
        b"\xef\xbb\xbfx,label\r\n1,walk\r\n2,run\r\n",
        b"x,label\r1,walk\r2,run\r",
        b' x , "label"\n"1", "walk"\n 2 ,run \n',
        b"x,label\n\n1,walk\n\n\n2,run\n\n",
        b"x,label\n1,walk\n2,run\n3,unfini",
        b"x,label\n1,walk\n2,run\n\x00\x00\x00\x00",
        "x,label\n1,walk\n2,run\n3,ü".encode()[:-1],
    ],
    ids=[
        "plain",
        "bom-crlf",
        "cr",
        "spaces-quotes",
        "blank-lines",
        "unfinished",
        "power-cut",
        "half-a-letter",
    ],
)
def test_csv_dialects_read_the_same(tmp_path: Path, content: bytes) -> None:
    samples = csv_of(tmp_path, content)
    assert samples.columns == ("x", "label")
    assert samples.X[:, 0].tolist() == [1, 2]
    assert samples.y is not None
    assert samples.y.tolist() == ["walk", "run"]


def test_csv_last_line_counts_where_the_file_is_complete(tmp_path: Path) -> None:
    content = "x\n1\n2"
    assert len(csv_of(tmp_path, content).X) == 1
    assert len(csv_of(tmp_path, content, growing=False).X) == 2


def test_csv_missing_values_are_nan(tmp_path: Path) -> None:
    samples = csv_of(tmp_path, "a,b,label\n,1,x\nNaN,1,\n N/A ,1,x\nnull,1,NA\n")
    assert np.isnan(samples.X[:, 0]).all()
    assert samples.faults.keys() == {2}
    assert samples.y is not None
    assert samples.y.tolist() == ["x", "", "x", "NA"], "a label is missing only if it is empty"


def test_csv_of_one_column_may_lack_a_value(tmp_path: Path) -> None:
    samples = csv_of(tmp_path, '\n  \nx\n1\n\n3\n""\n5\n\n')
    np.testing.assert_array_equal(samples.X[:, 0], np.array([1, 3, np.nan, 5], dtype=np.float32))
    assert samples.lines is not None
    assert samples.lines.tolist() == [4, 6, 7, 8]


def test_csv_lines_are_counted_through_quoted_line_breaks(tmp_path: Path) -> None:
    samples = csv_of(tmp_path, 'x,note\n1,"two\nlines"\n\n2,"one"\n3,end\n')
    assert samples.lines is not None
    assert samples.lines.tolist() == [2, 5, 6]


def test_csv_text_is_a_fault_only_of_its_column(tmp_path: Path) -> None:
    rows = "".join(f"{i},{SECRET},{i}\n" for i in range(1, 5_000))
    samples = csv_of(tmp_path, f"x,t,w\n0,,{SECRET}\n{rows}1,1,{SECRET}\n2,2,0\n")
    assert texts(samples).keys() == {1}
    assert_tells(texts(samples)[1], f"{tmp_path}/a.csv: line 3, column 't': ")
    np.testing.assert_array_equal(samples.X[:5_000, 0], np.arange(5_000))


def test_csv_cells_that_are_no_number_are_missing_and_counted(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i}\n" for i in range(1, 5_000))
    samples = csv_of(tmp_path, f"x,w\n0,{SECRET}\n{rows}1,{SECRET}\n2,0\n")
    assert samples.faults == {}
    about = samples.unread[1]
    assert (about.count, about.rows, about.row) == (2, 5_002, 0)
    assert_tells(about.first.text, f"{tmp_path}/a.csv: line 2, column 'w': ")
    (note,) = samples.notes({"w"})
    assert_tells(note, "2 of 5002 ", "column 'w'", f"{tmp_path}/a.csv: line 2, column 'w': ")
    assert samples.notes({"x"}) == (), "who does not need the column need not know"
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(samples.X[:, 1])), [0, 5_000])


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("inf", "infinite"),
        ("-Infinity", "infinite"),
        ("1e39", "too large"),
        ("12:30", "not a number"),
        ("0x10", "not a number"),
        ("1_000", "not a number"),
    ],
)
def test_csv_cells_that_are_no_number(tmp_path: Path, cell: str, reason: str) -> None:
    samples = csv_of(tmp_path, f"u,v\n1,2\n1,{cell}\n1,\n")
    assert_tells(samples.unread[1].first.text, f"{tmp_path}/a.csv: line 3, column 'v': ", reason)
    np.testing.assert_array_equal(samples.X[:, 1], np.array([2, np.nan, np.nan], dtype=np.float32))


def test_csv_series_is_a_column_or_the_file(tmp_path: Path) -> None:
    assert csv_of(tmp_path, "x,s\n1,b\n2,a\n3,b\n", series="s").series.tolist() == [1, 0, 1]
    (tmp_path / "b.csv").write_text("x,s\n4,a\n")
    assert CsvSource(tmp_path, series="s").read().series.tolist() == [1, 0, 1, 0]
    assert CsvSource(tmp_path).read().series.tolist() == [0, 0, 0, 1]


def test_csv_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, content in {
        "b.csv": "y,x\n4,3\n",
        "a.csv": "x,y\n1,2\n",
        "c.CSV": "x,y\n5,oops\n",
        "d.csv": "",
        "e.csv": "x,y\n",
        ".hidden.csv": "z\n1\n",
        "notes.txt": "no",
    }.items():
        (tmp_path / name).write_text(content)
    samples = CsvSource(tmp_path).read()
    assert samples.columns == ("x", "y")
    np.testing.assert_array_equal(samples.X, np.array([[1, 2], [3, 4], [5, np.nan]], dtype=np.float32))
    assert [samples.place(i) for i in range(3)] == [
        f"{tmp_path}/{name}: line 2" for name in ("a.csv", "b.csv", "c.CSV")
    ]
    assert_tells(samples.unread[1].first.text, f"{tmp_path}/c.CSV: line 2, column 'y': ")
    assert samples.unread[1].row == 2


def test_csv_fingerprint_changes_with_any_file(tmp_path: Path) -> None:
    file, source = tmp_path / "a.csv", CsvSource(tmp_path)
    file.write_text("x\n1\n")
    seen = [source.fingerprint()]
    assert source.fingerprint() == seen[0]
    with file.open("a") as stream:
        stream.write("2\n")
    seen.append(source.fingerprint())
    os.utime(file, ns=(1, 1))
    seen.append(source.fingerprint())
    (tmp_path / "new").write_text("x\n9\n8\n")
    os.utime(tmp_path / "new", ns=(1, 1))
    (tmp_path / "new").replace(file)
    seen.append(source.fingerprint())
    (tmp_path / "b.csv").write_text("x\n")
    seen.append(source.fingerprint())
    assert len(set(seen)) == len(seen)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    X=arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(1, 4)),
        elements=st.floats(width=32, allow_infinity=False),
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    block=st.sampled_from([1, 2, 4096]),
)
def test_csv_gives_back_what_was_written(tmp_path: Path, X: np.ndarray, end: str, block: int) -> None:
    lines = [",".join(f"c{j}" for j in range(X.shape[1])), *(",".join(map(str, row)) for row in X)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.sources.text_file.BLOCK", block)
        samples = csv_of(tmp_path, end.join(lines) + end)
    np.testing.assert_array_equal(samples.X, X)
    assert samples.lines is not None
    assert samples.lines.tolist() == list(range(2, len(X) + 2))


BROKEN_CSV: dict[str, tuple[str | bytes, dict[str, Any], list[str]]] = {
    "empty": ("", {}, ["a.csv: ", "empty", "header"]),
    "only an unfinished line": ("x,y", {}, ["a.csv: ", "empty", "header"]),
    "blank lines only": ("\n\n", {}, ["a.csv: ", "empty", "header"]),
    "header only": ("x,y\n", {}, ["a.csv: ", "no rows"]),
    "a cell too few": (
        "x,y\n1,2\n3\n",
        {},
        ["a.csv: line 3: ", "1 cells", "2 columns"],
    ),
    "a cell too many": (f"x,y\n1,2,{SECRET}\n", {}, ["a.csv: line 2: ", "3 cells", "2 columns"]),
    "a series that stands twice": (
        "x,y, x\n1,2,3\n",
        {"series": "x"},
        ["a.csv: line 1: ", "'x'", "twice"],
    ),
    "latin-1": (b"x,y\n1,2\n3,\xe9\n", {}, ["a.csv: line 3: ", "UTF-8"]),
    "utf-16": ("x,y\n1,2\n".encode("utf-16"), {}, ["a.csv: line 1: ", "UTF-8"]),
    "open quote": (
        f'x,y\n1,2\n3,"{SECRET}\n5,6\n',
        {},
        ["a.csv: line 3: ", "CSV", "quote"],
    ),
    "text after a quote": (f'x,y\n1,"2"{SECRET}\n', {}, ["a.csv: line 2: ", "CSV"]),
    "endless cell": (
        "x,y\n1," + SECRET * 30_000 + "\n",
        {},
        ["a.csv: line 2: ", "CSV", "limit"],
    ),
    "series without its column": (
        "x,y\n1,2\n",
        {"series": "rec"},
        ["a.csv: line 1: ", "'rec'", "[data] series", "x, y"],
    ),
}


@pytest.mark.parametrize(("content", "options", "facts"), BROKEN_CSV.values(), ids=BROKEN_CSV.keys())
def test_broken_csv_is_explained(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], facts: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        csv_of(tmp_path, content, **options)
    place, *told = facts
    assert str(caught.value).startswith(f"{tmp_path}/{place}")
    assert_tells(str(caught.value), place, *told)
    assert SECRET not in str(caught.value)


def test_csv_files_of_a_folder_agree(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("x,z\n1,2\n")
    samples = CsvSource(tmp_path).read()
    assert samples.columns == ("x", "y", "z")
    assert list(texts(samples)) == [1, 2], "what all have can be used"
    assert_tells(texts(samples)[1], f"{tmp_path}/b.csv: line 1: ", "column 'y'", f"{tmp_path}/a.csv ")
    assert_tells(texts(samples)[2], f"{tmp_path}/a.csv: line 1: ", "column 'z'", f"{tmp_path}/b.csv ")
    np.testing.assert_array_equal(samples.X[:, 0], [1, 1])


def test_csv_names_that_stand_twice_are_faults_of_their_columns(tmp_path: Path) -> None:
    samples = csv_of(tmp_path, "x,y, x,,\n1,2,3,4,5\n")
    assert samples.columns == ("x", "y", "")
    assert texts(samples).keys() == {0, 2}
    assert_tells(texts(samples)[0], f"{tmp_path}/a.csv: line 1: column 'x' ", "twice")
    assert_tells(texts(samples)[2], f"{tmp_path}/a.csv: line 1: column '' ", "twice")
    assert_tells(samples.faults[0].what, "1", "3", "name")
    assert samples.X[0, 1] == 2


def test_csv_that_is_not_there(tmp_path: Path) -> None:
    for attempt in (CsvSource(tmp_path / "no").read, CsvSource(tmp_path / "no").fingerprint):
        with pytest.raises(DataError, match=telling(f"{tmp_path}/no: ")):
            attempt()
        with pytest.raises(DataError, match=telling(f"{tmp_path}: ", ".csv")):
            getattr(CsvSource(tmp_path), attempt.__name__)()
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(DataError, match=telling("x.csv: ", os.strerror(errno.EISDIR))):
        CsvSource(tmp_path).read()
