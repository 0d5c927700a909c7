"""Logs that were rotated: which files are read, in what order, and that nobody misses those that are not."""

from pathlib import Path

import numpy as np
import pytest

from agent.data.assessment import assess
from agent.settings.sources import CsvSettings
from agent.shell.data_log import Logbook
from agent.sources import CsvSource, Samples, open_source
from fedge.errors import DataError
from tests.agent.test_dataset import WALK_RUN
from tests.wording import assert_tells, telling

HEADER = "u,v,label\n"


def rows(first: int, last: int) -> str:
    return HEADER + "".join(f"{i},{2 * i},{'walk' if i % 2 else 'run'}\n" for i in range(first, last))


def rotated(folder: Path) -> Path:
    """A log of 60 rows that was rotated twice, and once more long ago."""
    (folder / "data.csv").write_text(rows(40, 60))
    (folder / "data.csv.1").write_text(rows(20, 40))
    (folder / "data.csv.10").write_text(rows(0, 20))
    (folder / "data.csv.11.gz").write_bytes(b"\x1f\x8b")
    (folder / "notes.txt").write_text("nothing\n")
    return folder


def settings(path: Path, **more: object) -> CsvSettings:
    return CsvSettings.model_validate({"source": "csv", "path": str(path), **more})


def read(path: Path, **more: object) -> Samples:
    return open_source(settings(path, **more)).read()


def warnings(path: Path, **more: object) -> list[str]:
    return [str(one) for one in assess(read(path, **more), settings(path, **more), None).warnings]


def test_a_rotated_log_is_one_recording_the_oldest_rows_first(tmp_path: Path) -> None:
    samples = read(rotated(tmp_path), files="data.csv*")
    np.testing.assert_array_equal(samples.X[:, 0], np.arange(60, dtype=np.float32))
    assert [Path(name).name for name, _ in samples.blocks] == ["data.csv.10", "data.csv.1", "data.csv"]
    assert set(samples.series.tolist()) == {0}
    assert samples.beside.others == ("data.csv.11.gz", "notes.txt")


def test_dates_go_up_and_what_is_still_written_comes_last(tmp_path: Path) -> None:
    for name, first in (("data.csv", 40), ("data.csv-20260502", 20), ("data.csv-20260501", 0)):
        (tmp_path / name).write_text(rows(first, first + 20))
    np.testing.assert_array_equal(read(tmp_path, files="data.csv*").X[:, 0], np.arange(60, dtype=np.float32))


def test_files_of_days_stay_recordings_of_their_own(tmp_path: Path) -> None:
    for name, first in (("data-2026-05-01.csv", 0), ("data-2026-05-02.csv", 20)):
        (tmp_path / name).write_text(rows(first, first + 20))
    for more in ({}, {"files": "data-*"}):
        assert set(read(tmp_path, **more).series.tolist()) == {0, 1}


def test_what_is_compressed_is_named_until_it_is_unpacked(tmp_path: Path) -> None:
    (told,) = warnings(rotated(tmp_path), files="data.csv*")
    assert_tells(told, "not read: data.csv.11.gz")
    (tmp_path / "data.csv.11").write_text(rows(-20, 0))
    assert warnings(tmp_path, files="data.csv*") == []


@pytest.mark.parametrize("place", ["", "data.csv"])
def test_parts_of_a_log_that_are_not_read_are_named_with_the_setting(tmp_path: Path, place: str) -> None:
    path = rotated(tmp_path) / place
    samples = read(path)
    assert len(samples.X) == 20
    (told,) = warnings(path)
    assert_tells(told, "not read: data.csv.11.gz, data.csv.10, data.csv.1")
    assert_tells(told, f'[data] path = "{tmp_path}", files = "data.csv*"')
    # beside a single file lies what is none of its business
    assert ("notes.txt" in samples.beside.others) == (place == "")


def test_the_log_names_them_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    Logbook().tell("data", read(rotated(tmp_path)), settings(tmp_path), WALK_RUN, b"")
    info, warning = (message for message in caplog.messages if "not read: data.csv.11.gz" in message)
    assert_tells(info, "source data", "data.csv.10, data.csv.1, notes.txt")
    assert "notes.txt" not in warning


def test_a_copy_among_them_is_refused(tmp_path: Path) -> None:
    rotated(tmp_path)
    (tmp_path / "data.csv.bak").write_text(rows(40, 60))
    with pytest.raises(DataError, match=telling("data.csv ", "data.csv.bak ", "copy")):
        read(tmp_path, files="data.csv*")


def test_rotation_is_noticed_without_a_row_that_is_new(tmp_path: Path) -> None:
    source = CsvSource(rotated(tmp_path), "label", files="data.csv*")
    before = source.fingerprint()
    (tmp_path / "data.csv.1").rename(tmp_path / "data.csv.2")
    assert source.fingerprint() != before


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ("log*", ("'log*'", "data.csv, data.csv.1")),
        ("*.gz", ("compressed", "data.csv.11.gz")),
    ],
)
def test_a_pattern_that_finds_nothing_says_what_is_there(
    tmp_path: Path, files: str, said: tuple[str, str]
) -> None:
    with pytest.raises(DataError) as caught:
        read(rotated(tmp_path), files=files)
    assert_tells(str(caught.value), f"{tmp_path}: ", "[data] files ", *said)
    assert "data.csv" not in str(caught.value.public)


def test_a_pattern_beside_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"folder.* path = "):
        read(rotated(tmp_path) / "data.csv", files="data.csv*")


@pytest.mark.parametrize("files", ["", "../data.csv*", "a/b"])
def test_a_pattern_is_of_names_in_the_folder(tmp_path: Path, files: str) -> None:
    with pytest.raises(ValueError, match="files"):
        settings(tmp_path, files=files)


def append(file: Path, first: int, last: int) -> None:
    with file.open("a") as stream:
        stream.write(rows(first, last).removeprefix(HEADER))


def rotate(folder: Path, last: int) -> None:
    """Each file gets the next number, that with `last` first."""
    for number in range(last, 0, -1):
        (folder / f"data.csv.{number}").rename(folder / f"data.csv.{number + 1}")
    (folder / "data.csv").rename(folder / "data.csv.1")


@pytest.mark.parametrize("newest", [None, 25])
def test_each_row_is_used_once_while_the_log_grows_and_is_rotated(tmp_path: Path, newest: int | None) -> None:
    log = tmp_path / "data.csv"
    source = open_source(settings(tmp_path, files="data.csv*", newest=newest))

    def used(last: int) -> None:
        samples = source.read()
        first = 0 if newest is None else max(0, last - newest)
        np.testing.assert_array_equal(samples.X[:, 0], np.arange(first, last, dtype=np.float32))
        assert set(samples.series.tolist()) == {0}

    log.write_text(rows(0, 20))
    used(20)
    append(log, 20, 30)
    used(30)
    rotate(tmp_path, 0)
    log.write_text(rows(30, 33))
    used(33)
    append(log, 33, 40)
    used(40)
    rotate(tmp_path, 1)
    log.write_text(HEADER)
    used(40)
    append(log, 40, 90)  # longer than what had the name before
    used(90)
    (tmp_path / "data.csv.3").write_text(log.read_text())  # a copy lies there before the log is cut
    with pytest.raises(DataError, match=telling("data.csv", "data.csv.3", "copy")):
        source.read()
    (tmp_path / "data.csv.3").unlink()
    rotate(tmp_path, 2)
    log.write_text("")
    used(90)


def test_what_comes_to_lie_beside_the_files_is_told_though_no_row_is_new(tmp_path: Path) -> None:
    source = open_source(settings(rotated(tmp_path), files="data.csv*"))
    before = source.read()
    (tmp_path / "data.csv.12.gz").write_bytes(b"\x1f\x8b")
    after = source.read()
    assert after.beside.older == ("data.csv.12.gz", *before.beside.older)
    assert after.X is before.X


@pytest.mark.parametrize("by", ["every", "random", "series"])
def test_who_deletes_the_oldest_part_is_warned_that_held_out_rows_are_trained_on(
    by: str, tmp_path: Path
) -> None:
    holdout = {"part": 0.2, "by": by}
    said = [one for one in warnings(rotated(tmp_path), files="data.csv*", holdout=holdout) if "parts" in one]
    assert len(said) == 1
    assert_tells(said[0], "3 parts", "data.csv", f'[data] holdout by = "{by}"')
    assert_tells(said[0], '[data] holdout = { part = 0.2, by = "time" }')
    other = {"part": 0.2, "by": "time"}
    assert not any("parts" in one for one in warnings(tmp_path, files="data.csv*", holdout=other))
    assert not any("parts" in one for one in warnings(tmp_path / "data.csv.1", holdout=holdout))
