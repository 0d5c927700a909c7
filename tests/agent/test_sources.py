"""Data files, right and wrong. Every error names the file, where in it, and what to do; never a value."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agent.settings.sources import CsvSettings, NpzSettings, PythonSettings
from agent.sources import CsvSource, FunctionSource, NpzSource, Samples, open_source
from fedge.errors import DataError
from tests.wording import assert_tells

SECRET = "s3cret"
"""Stands for contents: it must appear in no message."""


def csv_of(folder: Path, content: str | bytes, **options: Any) -> Samples:
    file = folder / "a.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return CsvSource(file, **{"label": "label", **options}).read()


def texts(samples: Samples) -> dict[int, str]:
    return {column: fault.text for column, fault in samples.faults.items()}


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
    assert texts(samples) == {1: f"{tmp_path}/a.csv: line 3, column 't': not a number"}
    np.testing.assert_array_equal(samples.X[:5_000, 0], np.arange(5_000))


def test_csv_cells_that_are_no_number_are_missing_and_counted(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i}\n" for i in range(1, 5_000))
    samples = csv_of(tmp_path, f"x,w\n0,{SECRET}\n{rows}1,{SECRET}\n2,0\n")
    assert samples.faults == {}
    about = samples.unread[1]
    assert (about.count, about.rows, about.row) == (2, 5_002, 0)
    assert_tells(about.first.text, f"{tmp_path}/a.csv: line 2, column 'w': ")
    assert samples.notes({"w"}) == (
        "2 of 5002 values of column 'w' count as missing, first: "
        f"{tmp_path}/a.csv: line 2, column 'w': not a number",
    )
    assert samples.notes({"x"}) == (), "who does not need the column need not know"
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(samples.X[:, 1])), [0, 5_000])


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("inf", "infinite, or too large for a float32"),
        ("-Infinity", "infinite, or too large for a float32"),
        ("1e39", "infinite, or too large for a float32"),
        ("12:30", "not a number"),
        ("0x10", "not a number"),
        ("1_000", "not a number"),
    ],
)
def test_csv_cells_that_are_no_number(tmp_path: Path, cell: str, reason: str) -> None:
    samples = csv_of(tmp_path, f"u,v\n1,2\n1,{cell}\n1,\n")
    assert samples.unread[1].first.text == f"{tmp_path}/a.csv: line 3, column 'v': {reason}"
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


BROKEN_CSV: dict[str, tuple[str | bytes, dict[str, Any], str]] = {
    "empty": ("", {}, "a.csv: is empty; it must begin with a header line"),
    "only an unfinished line": ("x,y", {}, "a.csv: is empty; it must begin with a header line"),
    "blank lines only": ("\n\n", {}, "a.csv: is empty; it must begin with a header line"),
    "header only": ("x,y\n", {}, "a.csv: has a header but no rows yet"),
    "a cell too few": (
        "x,y\n1,2\n3\n",
        {},
        "a.csv: line 3: has 1 cells, the header has 2 columns; complete or",
    ),
    "a cell too many": (f"x,y\n1,2,{SECRET}\n", {}, "a.csv: line 2: has 3 cells, the header has 2 columns"),
    "a series that stands twice": (
        "x,y, x\n1,2,3\n",
        {"series": "x"},
        "a.csv: line 1: column 'x' stands twice; give each its own name",
    ),
    "latin-1": (b"x,y\n1,2\n3,\xe9\n", {}, "a.csv: line 3: not UTF-8; save the file as CSV in UTF-8"),
    "utf-16": ("x,y\n1,2\n".encode("utf-16"), {}, "a.csv: line 1: not UTF-8"),
    "open quote": (
        f'x,y\n1,2\n3,"{SECRET}\n5,6\n',
        {},
        "a.csv: line 3: not CSV: unexpected end of data; look for a quote that is",
    ),
    "text after a quote": (f'x,y\n1,"2"{SECRET}\n', {}, "a.csv: line 2: not CSV: "),
    "endless cell": (
        "x,y\n1," + SECRET * 30_000 + "\n",
        {},
        "a.csv: line 2: not CSV: field larger than field limit",
    ),
    "series without its column": (
        "x,y\n1,2\n",
        {"series": "rec"},
        "a.csv: line 1: there is no column 'rec', which [data] series names; the columns are x, y",
    ),
}


@pytest.mark.parametrize(("content", "options", "message"), BROKEN_CSV.values(), ids=BROKEN_CSV.keys())
def test_broken_csv_is_explained(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        csv_of(tmp_path, content, **options)
    assert str(caught.value).startswith(f"{tmp_path}/{message}")
    assert SECRET not in str(caught.value)


def test_csv_files_of_a_folder_agree(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("x,z\n1,2\n")
    samples = CsvSource(tmp_path).read()
    assert samples.columns == ("x", "y", "z")
    assert list(texts(samples)) == [1, 2], "what all have can be used"
    lacks = "line 1: there is no column"
    assert texts(samples)[1].startswith(
        f"{tmp_path}/b.csv: {lacks} 'y', which {tmp_path}/a.csv has; all files"
    )
    assert texts(samples)[2].startswith(
        f"{tmp_path}/a.csv: {lacks} 'z', which {tmp_path}/b.csv has; all files"
    )
    np.testing.assert_array_equal(samples.X[:, 0], [1, 1])


def test_csv_names_that_stand_twice_are_faults_of_their_columns(tmp_path: Path) -> None:
    samples = csv_of(tmp_path, "x,y, x,,\n1,2,3,4,5\n")
    assert samples.columns == ("x", "y", "")
    assert texts(samples) == {
        0: f"{tmp_path}/a.csv: line 1: column 'x' stands twice; give each its own name",
        2: f"{tmp_path}/a.csv: line 1: column '' stands twice; give each its own name",
    }
    assert_tells(samples.faults[0].what, "1", "3", "name")
    assert samples.X[0, 1] == 2


def test_csv_that_is_not_there(tmp_path: Path) -> None:
    for attempt in (CsvSource(tmp_path / "no").read, CsvSource(tmp_path / "no").fingerprint):
        with pytest.raises(DataError, match=f"^{tmp_path}/no: .*no such file or folder"):
            attempt()
        with pytest.raises(DataError, match=r": the folder holds no file whose name ends in \.csv$"):
            getattr(CsvSource(tmp_path), attempt.__name__)()
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(DataError, match=r"x\.csv: cannot be read: Is a directory"):
        CsvSource(tmp_path).read()


# npz


def npz_of(folder: Path, **content: Any) -> Samples:
    np.savez(folder / "a.npz", **content)
    return NpzSource(folder / "a.npz").read()


def test_npz_arrays(tmp_path: Path) -> None:
    X = np.arange(6.0).reshape(3, 2)
    samples = npz_of(tmp_path, X=X, y=["b", "a", "b"], series=[7, 7, 3], features=["u", "v"], other=1)
    np.testing.assert_array_equal(samples.X, X)
    assert samples.X.dtype == np.float32
    assert samples.columns == ("u", "v")
    assert samples.y is not None
    assert samples.y.tolist() == ["b", "a", "b"]
    assert samples.series.tolist() == [1, 1, 0]
    assert samples.place(2) == f"{tmp_path}/a.npz: row 2"
    bare = npz_of(tmp_path, X=X.astype(np.int8))
    assert (bare.columns, bare.y, bare.series.tolist()) == (None, None, [0, 0, 0])
    as_bytes = npz_of(tmp_path, X=X, y=np.array([b"a", b"b", b"c"]))
    assert as_bytes.y is not None
    assert as_bytes.y.tolist() == ["a", "b", "c"]
    assert npz_of(tmp_path, X=X, y=np.ones((3, 2))).y.shape == (3, 2)  # type: ignore[union-attr]


def test_npz_infinities_are_faults_of_their_columns(tmp_path: Path) -> None:
    X = np.array([[1, 2], [3, np.inf], [1e39, 0]])
    place = f"{tmp_path}/a.npz: row"
    reason = "infinite, or too large for a float32"
    assert texts(npz_of(tmp_path, X=X)) == {
        0: f"{place} 2, column 0: {reason}",
        1: f"{place} 1, column 1: {reason}",
    }
    assert texts(npz_of(tmp_path, X=X, features=["u", "v"]))[1] == f"{place} 1, column 'v': {reason}"


def test_npz_fingerprint(tmp_path: Path) -> None:
    source = NpzSource(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a\.npz: there is no such file"):
        source.fingerprint()
    npz_of(tmp_path, X=np.ones((3, 2)))
    first = source.fingerprint()
    assert first == source.fingerprint()
    npz_of(tmp_path, X=np.ones((4, 2)))
    assert first != source.fingerprint()


X = np.ones((4, 2))
OBJECTS = np.array([SECRET, None, {}, 1], dtype=object)

BROKEN_NPZ: dict[str, tuple[dict[str, Any], str]] = {
    "no X": ({"x": X, "y": [1] * 4}, "holds no array X; its arrays are x, y"),
    "nothing": ({}, "holds no array X; its arrays are none"),
    "X of one dimension": (
        {"X": np.ones(4)},
        "X must be numbers of shape (samples, features), got float64 of shape (4,)",
    ),
    "X of images": (
        {"X": np.ones((4, 8, 8))},
        "X must be numbers of shape (samples, features), got float64 of shape (4, 8, 8)",
    ),
    "X of text": (
        {"X": np.full((4, 2), SECRET)},
        "X must be numbers of shape (samples, features), got <U6 of shape (4, 2)",
    ),
    "X of complex numbers": ({"X": X * 1j}, "X must be numbers of shape"),
    "X without rows": ({"X": np.ones((0, 2))}, "X has no rows, its shape is (0, 2)"),
    "X without columns": ({"X": np.ones((4, 0))}, "X has no columns, its shape is (4, 0)"),
    "X of objects": (
        {"X": np.array([[SECRET, None]] * 4, dtype=object)},
        "array X: holds Python objects or is damaged",
    ),
    "y of objects": (
        {"X": X, "y": OBJECTS},
        "array y: holds Python objects or is damaged; save text or numbers",
    ),
    "y too short": ({"X": X, "y": [0, 1]}, "y has 2 rows, X has 4; they must belong together"),
    "y of text in columns": (
        {"X": X, "y": [["a"]] * 4},
        "y must be labels of shape (samples,) or numbers of shape",
    ),
    "y a scalar": (
        {"X": X, "y": 1},
        "y must be labels of shape (samples,) or numbers of shape (samples, targets)",
    ),
    "y not text": ({"X": X, "y": np.array([b"\xff"] * 4)}, "y holds bytes that are not UTF-8 text"),
    "series too long": ({"X": X, "series": [0] * 5}, "series has 5 rows, X has 4"),
    "series of floats": (
        {"X": X, "series": np.ones(4)},
        "series must be names or integers of shape (samples,)",
    ),
    "too few names": (
        {"X": X, "features": ["u"]},
        "features must be the names of X's 2 columns, got <U1 of shape (1,)",
    ),
    "names twice": (
        {"X": X, "features": ["u", "u"]},
        "features: 'u' stands twice; give each column its own name",
    ),
    "names as numbers": (
        {"X": X, "features": [1, 2]},
        "features must be the names of X's 2 columns, got int64",
    ),
}


@pytest.mark.parametrize(("content", "message"), BROKEN_NPZ.values(), ids=BROKEN_NPZ.keys())
def test_broken_npz_is_explained(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        npz_of(tmp_path, **content)
    assert str(caught.value).startswith(f"{tmp_path}/a.npz: {message}")
    assert SECRET not in str(caught.value)


def _npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, X=np.random.default_rng(0).normal(size=(50, 2)))
    return buffer.getvalue()


def _single_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, X)
    return buffer.getvalue()


def _flipped() -> bytes:
    data = bytearray(_npz_bytes())
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


def _zip_of_text() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("X.npy", "no array")
    return buffer.getvalue()


NO_ARCHIVE = "not a NumPy archive, damaged or cut short; write it with numpy.savez"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (bytes, NO_ARCHIVE),
        (lambda: _npz_bytes()[:-30], NO_ARCHIVE),
        (lambda: b"x,y\n1,2\n", NO_ARCHIVE),
        (_single_array, NO_ARCHIVE),
        (_flipped, NO_ARCHIVE),
        (_zip_of_text, "X must be numbers of shape (samples, features)"),
    ],
    ids=["empty", "truncated", "csv", "npy", "bit-flip", "zip-of-text"],
)
def test_damaged_archives_are_explained(tmp_path: Path, make: Callable[[], bytes], message: str) -> None:
    (tmp_path / "a.npz").write_bytes(make())
    with pytest.raises(DataError) as caught:
        NpzSource(tmp_path / "a.npz").read()
    assert str(caught.value).startswith(f"{tmp_path}/a.npz: {message}")


def test_npz_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no: .*no such file or folder"):
        NpzSource(tmp_path / "no").read()
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        NpzSource(tmp_path).read()


# Python functions


def function_of(folder: Path, code: str, name: str = "read") -> Samples:
    """Run a module of the code; its name is the folder's, for modules stay loaded."""
    module = f"loader_{abs(hash(str(folder)))}"
    (folder / f"{module}.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.path", ["/nowhere"])
        return FunctionSource(f"{module}:{name}", folder).read()


def test_function_is_called_at_each_read(tmp_path: Path) -> None:
    code = """
n = 3
def read():
    global n
    n += 1
    return [[1, 2]] * n, ['a'] * n, list(range(n))
"""
    samples = function_of(tmp_path, code)
    assert samples.X.shape == (4, 2)
    assert samples.series.tolist() == [0, 1, 2, 3]
    assert len(function_of(tmp_path, code).X) == 5
    source = FunctionSource("math:pi")
    assert source.fingerprint() != source.fingerprint()


def test_function_results_are_copied(tmp_path: Path) -> None:
    samples = function_of(
        tmp_path, "import numpy as np\nX = np.ones((3, 2), np.float32)\ndef read():\n    return X, [0, 1, 0]"
    )
    samples.X[:] = 7
    again = function_of(tmp_path, (tmp_path / next(tmp_path.glob("loader_*.py")).name).read_text())
    assert again.X.max() == 1


BROKEN_FUNCTIONS = {
    "syntax": ("def read(:", "importing loader_{n} raised SyntaxError at "),
    "import raises": ("1 / 0", "importing loader_{n} raised ZeroDivisionError at "),
    "imports what is not there": (
        "import no_such_thing",
        "there is no module 'no_such_thing' in {folder} or the installed",
    ),
    "no function": ("x = 1", "read does not exist in {folder}/loader_{n}.py"),
    "not a function": ("read = 3", "read is not a function in {folder}/loader_{n}.py"),
    "takes arguments": ("def read(a): pass", "raised TypeError at "),
    "raises": (
        f"def read():\n    raise ValueError('{SECRET}')",
        "raised ValueError at {folder}/loader_{n}.py:2",
    ),
    "exits": ("import sys\ndef read():\n    sys.exit(3)", "raised SystemExit at {folder}/loader_{n}.py:3"),
    "returns nothing": ("def read(): pass", "must return (X, y) or (X, y, series), got a NoneType"),
    "returns X alone": (
        "def read(): return [[1, 2]],",
        "must return (X, y) or (X, y, series), got a tuple of 1",
    ),
    "returns four": (
        "def read(): return 1, 2, 3, 4",
        "must return (X, y) or (X, y, series), got a tuple of 4",
    ),
    "ragged": ("def read(): return [[1, 2], [3]], [0, 1]", "X is no array: its rows differ in length"),
    "wrong lengths": ("def read(): return [[1, 2], [3, 4]], [0]", "y has 1 rows, X has 2"),
}


@pytest.mark.parametrize(("code", "message"), BROKEN_FUNCTIONS.values(), ids=BROKEN_FUNCTIONS.keys())
def test_broken_functions_are_explained(tmp_path: Path, code: str, message: str) -> None:
    number = str(abs(hash(str(tmp_path))))
    with pytest.raises(DataError) as caught:
        function_of(tmp_path, code)
    expected = f"loader_{number}:read: {message.format(n=number, folder=tmp_path)}"
    assert str(caught.value).startswith(expected)
    assert SECRET not in str(caught.value)


def test_function_of_a_module_that_is_not_there() -> None:
    with pytest.raises(
        DataError, match=r"^no_module_here:f: there is no module 'no_module_here' in the installed packages; "
    ):
        FunctionSource("no_module_here:f").read()


def test_the_configuration_opens_its_source(tmp_path: Path) -> None:
    path = tmp_path / "d"
    assert open_source(CsvSettings(source="csv", path=path, series="s")) == CsvSource(path, "label", "s")
    assert open_source(NpzSettings(source="npz", path=path)) == NpzSource(path)
    assert open_source(PythonSettings(source="python", callable="a:b", path=path)) == FunctionSource(
        "a:b", path
    )
