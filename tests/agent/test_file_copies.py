"""A copy of a file, as programs that synchronise folders leave it, is refused with both names."""

from pathlib import Path

import pytest

from agent.sources import CsvSource
from agent.sources.file_copies import copies
from fedge.errors import DataError
from tests.wording import assert_tells, telling

HEADER = "time,heat,label\n"


def rows(first: int, last: int) -> str:
    return "".join(f"2026-05-01T12:{i // 60:02}:{i % 60:02}Z,{i * 0.5},on\n" for i in range(first, last))


def read(folder: Path, **files: str) -> int:
    for name, text in files.items():
        (folder / f"{name}.csv").write_bytes(text.encode())
    return len(CsvSource(folder, "label").read().X)


def test_two_files_that_begin_alike_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, a=HEADER + rows(0, 40), b=HEADER + rows(40, 80), data=HEADER + rows(40, 90))
    assert_tells(str(caught.value), f"{tmp_path}/b.csv", f"{tmp_path}/data.csv", "copy")
    assert_tells(caught.value.public, "two files", "same rows")


def test_line_ends_and_headers_make_no_difference(tmp_path: Path) -> None:
    text = HEADER + rows(0, 40)
    with pytest.raises(DataError, match=telling(f"{tmp_path}/a.csv", f"{tmp_path}/b.csv", "copy")):
        read(tmp_path, a=text, b="\n" + text.replace("\n", "\r\n"))


def test_tables_of_one_file_are_no_copies_of_a_file(tmp_path: Path) -> None:
    other = "time,heat,rain\n2026-05-01,1,2\n"
    assert read(tmp_path, a=HEADER + rows(0, 9) + other + HEADER + rows(0, 9)) == 19, "it began again"


def test_files_that_only_look_alike_are_read(tmp_path: Path) -> None:
    still = "2026-05-01,0,on\n" * 9
    assert read(tmp_path, a=HEADER + still + rows(0, 9), b=HEADER + still + rows(9, 20)) == 38, (
        "it stood still"
    )
    assert read(tmp_path, a=HEADER + rows(0, 4), b=HEADER + rows(0, 4)) == 8, "too few to know"
    assert read(tmp_path, a=HEADER + rows(0, 9), b=HEADER + rows(0, 4) + rows(20, 25)) == 18


def test_one_file_or_none_is_no_copy() -> None:
    assert copies([]) is None
    whole = ("a", ("x",), (b"1", b"2", b"3", b"4", b"5"))
    assert copies([whole]) is None
    assert copies([whole, ("b", ("y",), whole[2])]) is None, "columns of another name"
    assert copies([whole, ("b", ("x",), whole[2])]) == ("a", "b")
