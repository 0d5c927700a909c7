"""Devices whose data cannot be used are left out of a trial and named; the others learn."""

import gzip
import html
import json
import os
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedge.errors import DataError
from fleet.cli.commands import app
from fleet.trial.admission import readable
from fleet.trial.files import discover
from fleet.trial.options import Options
from fleet.trial.proposal import Wish
from tests.wording import assert_tells, lines_telling

SAID = {
    "no-rows": ("no-rows.csv", "no rows"),
    "empty": ("empty.csv", "empty", "header"),
    "unlabelled": ("unlabelled.csv", "'activity'", "label", "'activty'"),
    "packed": ("packed.csv", "gzip"),
    "database": ("database.csv", "SQLite"),
    "broken": ("broken.csv", "NUL"),
    "strange": ("strange.csv", "ax, ay"),
    "unreadable": ("unreadable.csv",),
}
"""What is told of each: its file, and what is wrong with it."""


def rows(names: str = "ax,ay,activity", count: int = 40) -> str:
    lines = (f"{k % 7},{k % 5},{'walk' if k % 2 else 'idle'}" for k in range(count))
    return "\n".join((names, *lines)) + "\n"


def recorded(folder: Path, good: int = 3) -> Path:
    """Some devices with rows, and one of each kind that cannot be used."""
    folder.mkdir()
    for k in range(good):
        (folder / f"good-{k}.csv").write_text(rows())
    (folder / "no-rows.csv").write_text("ax,ay,activity\n")
    (folder / "empty.csv").write_text("")
    (folder / "unlabelled.csv").write_text(rows("ax,ay,activty"))
    (folder / "packed.csv").write_bytes(gzip.compress(rows().encode()))
    sqlite3.connect(folder / "database.csv").execute("CREATE TABLE t (x)").connection.close()
    (folder / "broken.csv").write_bytes(rows().encode() + bytes(40) + b"\n" + 20 * b"1,2,idle\0\n")
    (folder / "strange.csv").write_text(rows("u,v,activity"))
    (folder / "unreadable.csv").symlink_to(folder / "nowhere") if os.geteuid() else None
    (folder / "README.txt").write_text("About these files.\n")
    return folder


def test_each_device_that_cannot_be_used_is_named_with_its_reason(tmp_path: Path) -> None:
    place = recorded(tmp_path / "data")
    options = Options(place, Wish(label="activity"))
    able, excluded = readable(discover(place).devices, tmp_path / "homes", options)
    assert [one.found.device for one in able] == ["good-0", "good-1", "good-2"]
    assert excluded.keys() == SAID.keys() - ({"unreadable"} if not os.geteuid() else set())
    for device, reason in excluded.items():
        assert_tells(reason, *SAID[device])


def test_a_folder_of_a_device_without_data_is_left_out(tmp_path: Path) -> None:
    place = tmp_path / "data"
    for name in ("a", "b", "c", "d"):
        (place / name).mkdir(parents=True)
    for name in ("a", "b"):
        (place / name / "1.csv").write_text(rows())
    (place / "c" / "1.parquet").write_bytes(b"PAR1")
    (place / "d" / "1.csv").write_text("ax,ay,activity\n")
    options = Options(place, Wish(label="activity"))
    able, excluded = readable(discover(place).devices, tmp_path / "homes", options)
    assert [one.found.device for one in able] == ["a", "b"]
    assert_tells(excluded["c"], "c/: ", ".csv")
    assert_tells(excluded["d"], "d/1.csv: ", "rows")


@pytest.mark.parametrize(
    ("wish", "lacks"),
    [
        (Wish(label="activity", series="run"), ("c.csv", "'run'", "series")),
        (Wish(target="run"), ("c.csv", "'run'", "target")),
        (Wish(label="activity", features=("ax", "run")), ("c.csv", "'run'", "features")),
    ],
)
def test_a_device_that_lacks_a_column_that_was_named(
    wish: Wish, lacks: tuple[str, ...], tmp_path: Path
) -> None:
    place = tmp_path / "data"
    place.mkdir()
    for name in ("a", "b"):
        (place / f"{name}.csv").write_text(rows("ax,run,activity"))
    (place / "c.csv").write_text(rows("ax,ay,activity"))
    able, excluded = readable(discover(place).devices, tmp_path / "homes", Options(place, wish))
    assert ([one.found.device for one in able], list(excluded)) == (["a", "b"], ["c"])
    assert_tells(excluded["c"], *lacks)


@pytest.mark.parametrize("wish", [Wish(target="ay"), Wish(label="activity", features=("ax", "ay"))])
def test_a_device_whose_column_holds_text_where_the_others_have_numbers(wish: Wish, tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir()
    for name in ("a", "b"):
        (place / f"{name}.csv").write_text(rows())
    (place / "c.csv").write_text(rows("ax,activity,ay"))
    able, excluded = readable(discover(place).devices, tmp_path / "homes", Options(place, wish))
    assert ([one.found.device for one in able], list(excluded)) == (["a", "b"], ["c"])


def test_a_name_that_no_device_has_was_misspelt_and_none_is_left_out(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir()
    for name in ("a", "b"):
        (place / f"{name}.csv").write_text(rows())
    options = Options(place, Wish(label="activity", features=("ax", "run")))
    able, excluded = readable(discover(place).devices, tmp_path / "homes", options)
    assert (len(able), excluded) == (2, {})


def test_of_many_devices_that_cannot_be_used_ten_are_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for k in range(13):
        (tmp_path / "data" / f"{k:02}.csv").write_text("")
    options = Options(tmp_path / "data", Wish(label="activity"))
    with pytest.raises(DataError) as raised:
        readable(discover(tmp_path / "data").devices, tmp_path / "homes", options)
    lines = str(raised.value).splitlines()
    assert_tells(lines[0], str(tmp_path / "data"), "0 of 13 devices", " 2:")
    assert len(lines) == 12
    assert " 3 " in lines[-1]


def test_too_few_devices_that_can_be_used_are_refused_with_the_number_that_is_needed(tmp_path: Path) -> None:
    place = recorded(tmp_path / "data", good=1)
    (place / "strange.csv").unlink()  # of two devices none is the odd one
    options = Options(place, Wish(label="activity"))
    with pytest.raises(DataError) as raised:
        readable(discover(place).devices, tmp_path / "homes", options)
    text = str(raised.value)
    assert_tells(text, f"{place}: ", f"1 of {len(text.splitlines())} devices", " 2:")
    assert "\n  empty: " in text


def test_the_command_refuses_too_few_with_65(tmp_path: Path) -> None:
    place = recorded(tmp_path / "data", good=1)
    (place / "strange.csv").unlink()
    call = ["try", str(place), "--label", "activity", "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(app, call)
    assert (result.exit_code, result.stdout) == (65, "")
    assert_tells(result.stderr, f"{place}: ", "1 of ", " 2:")


@pytest.mark.system
@pytest.mark.slow
def test_the_others_learn_and_the_report_names_who_does_not(tmp_path: Path) -> None:
    place = recorded(tmp_path / "data")
    call = ["try", str(place), "--label", "activity", "--rounds", "1", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*call, "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    page = Path(found["report"]).read_text()
    assert found["devices"] == 3
    for device, reason in found["excluded"].items():
        (said,) = (one for one in found["warnings"] if one.startswith(f"{device} "))
        assert_tells(said, reason)
        assert html.escape(said) in page
        assert not (tmp_path / "out" / "devices" / device).exists()
    assert lines_telling("\n".join(found["warnings"]), "README.txt", "CSV", "header")
    assert len(found["excluded"]) >= 7
