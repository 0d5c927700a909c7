"""Which devices there are in a folder, in each of the forms that people's files have."""

import os
import re
from pathlib import Path

import pytest

from fedge.errors import DataError, FedgeError
from fleet.trial.device_ids import device_ids
from fleet.trial.files import discover
from tests.wording import assert_tells

ROWS = "x,y\n1,a\n2,b\n"


def written(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(ROWS)
    return folder


def test_a_csv_for_each_device(tmp_path: Path) -> None:
    found = discover(written(tmp_path, "Phone_02.csv", "Phone_01.CSV", ".hidden.csv", "notes.txt")).devices
    assert [(one.device, one.origin) for one in found] == [
        ("phone-01", "Phone_01.CSV"),
        ("phone-02", "Phone_02.csv"),
    ]
    found[0].put(tmp_path / "home")
    assert (tmp_path / "home" / found[0].path).read_text() == ROWS


def test_a_folder_for_each_device(tmp_path: Path) -> None:
    found = discover(written(tmp_path, "b/1.csv", "b/2.csv", "a/1.csv", ".git/x.csv")).devices
    assert [(one.device, one.origin) for one in found] == [("a", "a/"), ("b", "b/")]
    found[1].put(tmp_path / "home")
    assert sorted(path.name for path in (tmp_path / "home" / found[1].path).iterdir()) == ["1.csv", "2.csv"]


def test_what_is_no_devices_data_is_named(tmp_path: Path) -> None:
    """A file of another kind may be the data of a device: nobody shall think that it was learnt from."""
    place = written(tmp_path, "b.csv", "a.csv", "c.parquet", "README.txt", "notes/n.txt", ".hidden.txt")
    found = discover(place)
    assert [one.device for one in found.devices] == ["a", "b"]
    (said,) = found.unread
    assert_tells(said, "not read", ".csv", "README.txt, c.parquet, notes/")
    assert not any(name in said for name in ("hidden", "a.csv", "b.csv"))
    assert discover(written(tmp_path / "all", "a.csv", "b.csv")).unread == ()


def test_a_folder_without_a_csv_among_folders_is_a_device_without_data(tmp_path: Path) -> None:
    found = discover(written(tmp_path, "a/1.csv", "a/1.mat", "b/1.csv", "c/1.parquet", "README.txt"))
    assert [(one.device, len(one.files)) for one in found.devices] == [("a", 1), ("b", 1), ("c", 0)]
    (said,) = found.unread
    assert "README.txt, a/1.mat" in said


def test_files_to_be_split_that_cannot_be_read_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "april.csv").write_text("")
    (tmp_path / "may.csv").write_text("who,x\na,1\nb,2\n")
    (tmp_path / "june.csv").write_bytes(b"who,x\na,\xff\n")
    (tmp_path / "july.csv").write_text("x,y\n1,2\n")
    found = discover(tmp_path, "who")
    assert {one.device: one.text for one in found.devices} == {"a": "who,x\na,1\n", "b": "who,x\nb,2\n"}
    assert [said.removeprefix(f"not read: {tmp_path}/").split(";")[0] for said in found.unread] == [
        "april.csv: is empty",
        "july.csv: line 1: there is no column 'who', which --devices-from names",
        "june.csv: is not UTF-8",
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_one_file_is_split_by_a_column_and_rows_keep_their_order(tmp_path: Path, separator: str) -> None:
    lines = ["unit,x,note", "10,1,", '9,"2","a, b"', "10,3,c", "", "9,4,d"]
    file = tmp_path / "all.csv"
    # quoted, so that the comma in a note is none of the separators
    file.write_text("\n".join(line.replace(",", separator) for line in lines) + "\n", encoding="utf-8-sig")
    found = discover(file, "unit").devices
    assert [(one.device, one.origin) for one in found] == [("9", "unit = 9"), ("10", "unit = 10")]
    for one in found:
        one.put(tmp_path / one.device)
    text = (tmp_path / "10" / found[1].path).read_text()
    assert text == "unit,x,note\n10,1,\n10,3,c\n".replace(",", separator)


def test_several_files_with_one_header_are_split_together(tmp_path: Path) -> None:
    (tmp_path / "may.csv").write_text("who,x\na,1\nb,2\n")
    (tmp_path / "june.csv").write_text("who,x\nb,3\n")
    found = {one.device: one.text for one in discover(tmp_path, "who").devices}
    assert found == {"a": "who,x\na,1\n", "b": "who,x\nb,3\nb,2\n"}
    (tmp_path / "july.csv").write_text("who,z\nb,3\n")
    with pytest.raises(DataError, match=r"june\.csv: line 1: .*july\.csv"):
        discover(tmp_path, "who")


@pytest.mark.parametrize(
    ("files", "column", "code", "message"),
    [
        ({}, None, os.EX_DATAERR, r": .*\.csv"),
        (
            {"a.parquet": "", "b.parquet": ""},
            None,
            os.EX_DATAERR,
            r" 2 .*\.parquet.*CSV",
        ),
        ({"a.csv": ROWS}, None, os.EX_USAGE, r"one device \(a\.csv\).* 2"),
        ({"a.csv": ROWS, "b/c.csv": ROWS}, None, os.EX_USAGE, r"\(a\.csv\).*folders"),
        (
            {"a.csv": "Unit,x\n1,2\n"},
            "unit",
            os.EX_DATAERR,
            "'unit'.*--devices-from.*'Unit'.*Unit, x",
        ),
        ({"a.csv": "unit,x\n1,2\n1,3\n"}, "unit", os.EX_USAGE, r"one device \(unit = 1\)"),
        ({"a.csv": "unit,x\n1,2\n,3\n"}, "unit", os.EX_DATAERR, "line 3: column 'unit' "),
        ({"a.csv": "unit,x\n"}, "unit", os.EX_DATAERR, "rows"),
    ],
)
def test_what_is_no_fleet_is_told_with_what_to_do(
    tmp_path: Path, files: dict[str, str], column: str | None, code: int, message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(FedgeError) as raised:
        discover(tmp_path, column)
    assert raised.value.exit_code == code
    assert re.search(message, str(raised.value))


def test_one_file_or_none_at_all_is_a_wrong_call(tmp_path: Path) -> None:
    file = written(tmp_path, "a.csv") / "a.csv"
    for place, message in (
        (file, r"a\.csv.*--devices-from"),
        (tmp_path / "no", "no: "),
    ):
        with pytest.raises(FedgeError, match=message) as raised:
            discover(place)
        assert raised.value.exit_code == os.EX_USAGE


def test_ids_are_different_and_short_enough() -> None:
    found = device_ids(["x" * 40, "x" * 41, "Garage/Süd", "-", "x" * 40])
    assert found == ["x" * 36, "x" * 34 + "-2", "garage-sued", "device-4", "x" * 34 + "-3"]
