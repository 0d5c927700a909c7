"""Files that grow: what is new is parsed alone, and the outcome is that of reading everything anew."""

import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.settings.sources import CsvSettings
from agent.sources import CsvSource, Samples, Source, open_source
from agent.sources.columns import Columns
from agent.sources.content import Content, opened
from fedge.errors import DataError
from tests.agent.test_formats import FOLDER, FORMS
from tests.wording import telling

HEADER = "time,heat,label\n"


def rows(first: int, count: int) -> str:
    return "".join(
        f"{1_700_000_000 + i},{i * 0.5},{('walk', 'sit')[i % 2]}\n" for i in range(first, first + count)
    )


def source(path: Path, **settings: Any) -> Source:
    return open_source(CsvSettings(source="csv", path=path, **settings))


def outcome(read: Callable[[], Samples]) -> dict[str, Any] | str:
    """All that samples say; or the error, in both of its texts."""
    try:
        samples = read()
    except DataError as error:
        return f"{error} | {error.public}"
    return {each.name: getattr(samples, each.name) for each in fields(samples)}


def assert_the_same(found: dict[str, Any] | str, right: dict[str, Any] | str) -> None:
    if isinstance(found, str) or isinstance(right, str):
        assert found == right
        return
    for name, value in right.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            assert repr(found[name]) == repr(value), name


class Counted:
    """Rows that were parsed, and bytes of text that were read for that."""

    def __init__(self) -> None:
        self.rows = self.bytes = 0


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    take, text = Columns.take, Content.text

    def counting_take(self: Columns, block: Any) -> None:
        counted.rows += len(block)
        take(self, block)

    def counting_text(self: Content, start: int = 0) -> Iterator[str]:
        counted.bytes += self.end - start
        return text(self, start)

    monkeypatch.setattr(Columns, "take", counting_take)
    monkeypatch.setattr(Content, "text", counting_text)
    return counted


def test_lines_at_the_top_are_passed_over_also_if_they_come_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("1\n")
    growing = source(file, skip=3, max_bad=0.9)
    for more in ("2\n", "\0\n", "a,b\n", "5,6\n"):
        outcome(growing.read)
        with file.open("a") as text:
            text.write(more)
        assert_the_same(outcome(growing.read), outcome(source(file, skip=3, max_bad=0.9).read))


def test_only_what_is_new_is_parsed(tmp_path: Path, parsed: Counted) -> None:
    file = tmp_path / "a.csv"
    file.write_text(HEADER + rows(0, 5_000))
    growing = source(file)
    whole = growing.read()
    assert (parsed.rows, parsed.bytes) == (5_000, file.stat().st_size)

    with file.open("a") as more:
        more.write(rows(5_000, 3) + "17000")
    parsed.rows = parsed.bytes = 0
    samples = growing.read()
    assert (parsed.rows, parsed.bytes) == (3, len(rows(5_000, 3)))
    assert len(samples.X) == 5_003
    assert samples.place(5_002) == f"{file}: line 5004"
    np.testing.assert_array_equal(samples.X[:5_000], whole.X)

    parsed.rows = parsed.bytes = 0
    with file.open("a") as more:
        more.write("05")  # the last line waits still
    assert growing.read() is samples
    os.utime(file)
    assert growing.read() is samples
    assert (parsed.rows, parsed.bytes) == (0, 0)


def truncated(file: Path) -> None:
    file.write_text(HEADER + rows(7, 30))


def rotated(file: Path) -> None:
    file.rename(file.with_suffix(".csv.1"))
    file.write_text(HEADER + rows(0, 100) + rows(200, 50))


def edited_in_place(file: Path) -> None:
    """By a text of the same length, in the middle, while the logger goes on."""
    with file.open("r+b") as text:
        content = text.read()
        text.seek(content.index(b",20.0,"))
        text.write(b",99.0,")
        text.seek(0, os.SEEK_END)
        text.write(rows(100, 5).encode())


def edited_to_the_same_size(file: Path) -> None:
    with file.open("r+b") as text:
        text.seek(text.read().index(b",20.0,"))
        text.write(b",99.0,")


@pytest.mark.parametrize("change", [truncated, rotated, edited_in_place, edited_to_the_same_size])
@pytest.mark.parametrize("newest", [None, 30])
def test_a_file_that_has_not_only_grown_is_read_anew(
    change: Callable[[Path], None], newest: int | None, tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_text(HEADER + rows(0, 100))
    growing = source(file, newest=newest)
    growing.read()
    change(file)
    assert_the_same(outcome(growing.read), outcome(source(file, newest=newest).read))


CHANGES_ITS_MEANING = {
    "another separator fits once there is more": ("a;b\n1,5;2\n", "1,25;3\n1;4\n"),
    "quotes, so that cells may hold commas": ("a,b\n1,2\n3,4\n", '"1,5",2\n"2,25",3\n'),
    "a decimal comma is proven": ("a;b;c\n1;x;2\n1,234;y;3\n", "1,5;z;4\n"),
    "another header": ("a,b\n1,2\n3,4\n", "b,a,c\n1,2,3\n4,5,6\n"),
    "the header again": ("a,b\n1,2\n3,4\n", "a,b\n5,6\n"),
    "a quoted cell goes on": ('a,b\n1,"x"\n2,"y\n', 'z"\n3,"w"\n'),
    "a bad line": ("a,b\n" + "1,2\n" * 60, "1,2,3\n4,5\n"),
    "the first row": ("a,b\n", "1,2\n"),
    "the header": ("", "a,b\n1,2\n"),
    "half of a line's end": ("a,b\r\n1,2\r", "\n3,4\r\n"),
    "an empty line": ("a,b\n1,2\n", "\n\n3,4\n"),
    "units below a header that stands again": ("t,h\ns,C\n0,1.5\n1,2.5\n2,3.5\n", "t,h\ns,C\n3,4.5\n"),
    "a comment": ("# x\na,b\n1,2\n", "# y\n3,4\n"),
    "another key": ('{"a": 1}\n{"a": 2}\n', '{"a": 3, "b": 4}\n'),
    "the same keys": ('{"a": 1, "b": 2}\n', '{"b": 3}\nno\n{"a": 4}\n' + '{"a": 5}\n' * 50),
    "bytes that are not UTF-8": ("a,b\n" + "1,2\n" * 60, "1,\udcff\n4,5\n"),
}


@pytest.mark.parametrize("what", CHANGES_ITS_MEANING)
def test_what_comes_may_change_how_all_is_understood(what: str, tmp_path: Path) -> None:
    before, after = (text.encode("utf-8", "surrogateescape") for text in CHANGES_ITS_MEANING[what])
    file = tmp_path / "a.csv"
    file.write_bytes(before)
    growing = source(file, label="b")
    outcome(growing.read)
    file.write_bytes(before)  # the same bytes again; the file is the same one
    with file.open("ab") as more:
        more.write(after)
    assert_the_same(outcome(growing.read), outcome(source(file, label="b").read))


@pytest.mark.parametrize("newest", [None, 20])
@pytest.mark.parametrize(
    "name", [name for name, form in FORMS.items() if form.columns and (FOLDER / name).is_file()]
)
def test_every_form_grown_at_any_place_gives_what_it_gives_at_once(
    name: str, newest: int | None, tmp_path: Path
) -> None:
    content = (FOLDER / name).read_bytes()
    settings = {**FORMS[name].settings, "newest": newest}
    rng = random.Random(name)
    for attempt in range(3):
        file = tmp_path / f"{attempt}{name}"
        file.write_bytes(b"")
        growing = source(file, **settings)
        cuts = sorted(rng.sample(range(len(content)), min(4, len(content))))
        for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
            with file.open("ab") as more:
                more.write(content[start:end])
            assert_the_same(outcome(growing.read), outcome(source(file, **settings).read))


def test_a_folder_goes_on_with_each_of_its_files(tmp_path: Path, parsed: Counted) -> None:
    for day in range(3):
        (tmp_path / f"{day}.csv").write_text(HEADER + rows(day * 100, 100))
    growing = source(tmp_path)
    growing.read()
    with (tmp_path / "2.csv").open("a") as more:
        more.write(rows(300, 2))
    (tmp_path / "3.csv").write_text(HEADER + rows(400, 10))
    parsed.rows = 0
    found = outcome(growing.read)
    assert parsed.rows == 12
    assert_the_same(found, outcome(source(tmp_path).read))
    (tmp_path / "1.csv").unlink()
    parsed.rows = 0
    found = outcome(growing.read)
    assert parsed.rows == 0
    assert_the_same(found, outcome(source(tmp_path).read))


def test_rows_that_were_forgotten_come_back_when_newer_ones_are_gone(tmp_path: Path) -> None:
    for day in range(3):
        (tmp_path / f"{day}.csv").write_text(HEADER + rows(day * 100, 100))
    for settings in ({}, {"time": "time"}):
        growing = source(tmp_path, newest=150, **settings)
        assert growing.read().X[0, 1] == 75
        (tmp_path / "2.csv").rename(tmp_path / "2.old")
        found = outcome(growing.read)
        assert not isinstance(found, str)
        assert found["X"][0, 1] == 25
        assert_the_same(found, outcome(source(tmp_path, newest=150, **settings).read))
        (tmp_path / "2.old").rename(tmp_path / "2.csv")
        assert_the_same(outcome(growing.read), outcome(source(tmp_path, newest=150, **settings).read))


def test_what_was_handed_out_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(HEADER + rows(0, 100))
    growing = source(file, newest=50)
    first = growing.read()
    X, lines = first.X.copy(), first.lines
    assert lines is not None
    lines = lines.copy()
    for more in range(1, 5):
        with file.open("a") as text:
            text.write(rows(100 * more, 100))
        growing.read()
    np.testing.assert_array_equal(first.X, X)
    np.testing.assert_array_equal(first.lines, lines)


def test_an_error_is_forgotten_when_it_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(HEADER + rows(0, 50))
    growing = source(file, max_bad=0)
    growing.read()
    with file.open("a") as more:
        more.write("1,2\n" + rows(50, 5))
    assert "line 52: has 2 cells" in str(outcome(growing.read))
    assert_the_same(outcome(growing.read), outcome(source(file, max_bad=0).read))
    file.write_text(HEADER + rows(0, 55))
    assert_the_same(outcome(growing.read), outcome(source(file).read))


def test_a_file_that_is_cut_while_it_is_read_is_no_shorter_one(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(HEADER + rows(0, 10_000))
    with opened(file, growing=True) as content:
        lines = content.text()
        assert next(lines) == HEADER
        os.truncate(file, 1_000)
        with pytest.raises(DataError, match=telling(f"{file}: ")):
            list(lines)


def test_a_file_in_the_place_of_one_that_begins_alike_goes_on(tmp_path: Path, parsed: Counted) -> None:
    """As a program that synchronises folders writes it."""
    file = tmp_path / "a.csv"
    file.write_text(HEADER + rows(0, 100))
    growing = source(file)
    growing.read()
    (tmp_path / "new").write_text(HEADER + rows(0, 110))
    (tmp_path / "new").replace(file)
    parsed.rows = 0
    assert len(growing.read().X) == 110
    assert parsed.rows == 10


def test_a_pipe_is_read_as_a_file(tmp_path: Path) -> None:
    """As a shell hands over what a command writes: `predict <(…)`."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        pool.submit(pipe.write_text, HEADER + rows(0, 30))
        assert len(CsvSource(pipe, growing=False).read().X) == 30
