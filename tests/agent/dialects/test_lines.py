"""Lines of a CSV that are no rows: bad ones, headers, units, comments; and missing values."""

from pathlib import Path

import numpy as np
import pytest

from agent.settings.data import DataSettings
from agent.sources.dialect import holds_units
from agent.sources.exclusions import exclude
from fedge.errors import DataError
from tests.agent.dialects.reading import NAN, column, read
from tests.wording import assert_tells, telling

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
    with pytest.raises(DataError, match=telling("line 102: ", "1 cells")):
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
