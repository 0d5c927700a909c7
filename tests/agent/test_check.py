"""`fedge-agent --check` tells limits, conditions, and what would be declined right now."""

import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cli.check import _labels as labels_of
from agent.cli.check import check
from agent.config import AgentSettings
from agent.settings.sources import PythonSettings
from agent.shell.measured_conditions import ROOT_VARIABLE
from agent.shell.memory import Memory
from agent.shell.memory_layout import FILE
from agent.sources import open_source
from fedge.errors import DataError
from fedge.wire.messages.envelope import seal
from tests.agent.besieged import LAB, Device, frames, manifest
from tests.wording import assert_tells, telling

OWNER = """
[limits]
epochs = 20
bytes_per_day = 1000
sources = ["heart"]
[conditions]
hours = "22:00-06:00"
mains = true
load = 0.0
[sources.heart]
source = "npz"
path = "data.npz"
"""


def checked(folder: Path, tables: str, *, as_json: bool = True) -> Any:
    np.savez(folder / "data.npz", X=np.zeros((40, 2)), y=np.arange(40) % 2)
    (folder / "agent.toml").write_text(
        f'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "npz"\npath = "data.npz"\n{tables}'
    )
    out = StringIO()
    check(AgentSettings.load(folder / "agent.toml", {}), out, as_json=as_json)
    return json.loads(out.getvalue()) if as_json else out.getvalue()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's own /sys, /proc and /run, of which only the load is known, and high."""
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    (root / "proc/loadavg").write_text("640.0 1 1 1/1 1")
    monkeypatch.setenv(ROOT_VARIABLE, str(root))
    monkeypatch.setattr("agent.shell.measured_conditions.kernel_clock_error_us", lambda: None)
    return root


def test_what_the_owner_allows_and_what_is_declined_now(tmp_path: Path, root: Path) -> None:
    battery = root / "sys/class/power_supply/BAT0"
    battery.mkdir(parents=True)
    (battery / "type").write_text("Battery")
    (battery / "status").write_text("Discharging")
    understood = checked(tmp_path, OWNER)
    assert understood["sources"] == {"data": 40, "heart": 40}
    assert understood["limits"] == {"epochs": 20, "bytes_per_day": 1000, "sources": ["heart"]}
    assert understood["conditions"] == {"hours": "22:00-06:00", "mains": True, "load": 0.0}
    assert set(understood["declines"]) == {"clock_not_synchronised", "on_battery", "too_busy"}
    assert_tells(understood["declines"]["on_battery"], "[conditions] mains", "BAT0")
    (battery / "status").write_text("Charging")
    assert "on_battery" not in checked(tmp_path, OWNER)["declines"]


def test_as_text(tmp_path: Path, root: Path) -> None:
    lines = checked(tmp_path, OWNER, as_json=False).splitlines()
    assert "    limits  epochs 20, bytes_per_day 1000, sources heart" in lines
    assert "conditions  hours 22:00-06:00, mains True, load 0.0" in lines
    (declines,) = (line for line in lines if line.lstrip().startswith("declines"))
    assert_tells(declines, "clock_not_synchronised", "[conditions] hours", "22:00-06:00")
    assert not any(
        line.lstrip().startswith(("limits", "conditions", "declines"))
        for line in checked(tmp_path, "", as_json=False).splitlines()
    )


def test_a_folder_whose_name_is_not_utf_8(tmp_path: Path, root: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    said = checked(folder, "", as_json=False)
    assert f"     state  {tmp_path}/caf\\udce9/state\n" in said.encode().decode(), "it is text"
    assert checked(folder, "")["state"] == str(folder / "state")


def test_the_bytes_of_today_are_those_in_the_devices_database(tmp_path: Path, root: Path) -> None:
    limits = "[limits]\nbytes_per_day = 1000"
    assert checked(tmp_path, limits)["declines"] == {}
    assert not (tmp_path / "state").exists(), "a check changes nothing"
    (tmp_path / "state").mkdir()
    memory = Memory(tmp_path / "state" / FILE)
    memory.save_moved("2026-05-01", 1_500)
    declined = checked(tmp_path, limits)["declines"]["over_byte_budget"]
    assert_tells(declined, "1500", "[limits] bytes_per_day", "1000")
    memory.close()
    assert "over_byte_budget" in checked(tmp_path, limits)["declines"], "nor does it matter who runs"


def test_a_missing_label_is_no_class(tmp_path: Path, root: Path) -> None:
    (tmp_path / "masking.py").write_text(
        "import numpy as np\n"
        "def read():\n"
        "    return np.zeros((40, 2)), np.ma.array([0, 1] * 20, mask=[True] + [False] * 39)\n"
    )
    source = '[sources.masked]\nsource = "python"\ncallable = "masking:read"\npath = "."\nmissing = "drop"'
    samples = open_source(PythonSettings(source="python", callable="masking:read", path=tmp_path)).read()
    assert labels_of(samples) == {"0": 19, "1": 20}
    assert checked(tmp_path, source)["sources"] == {"data": 40, "masked": 40}


def test_a_last_line_without_its_end_is_named_until_it_has_one(tmp_path: Path, root: Path) -> None:
    """It may still be written; a file that nobody writes any more would lack it for ever."""
    data = tmp_path / "data.csv"
    data.write_text("x,label\n" + "".join(f"{k}.5,{'ab'[k % 2]}\n" for k in range(40)) + "7,c")
    (tmp_path / "agent.toml").write_text(
        'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "csv"\npath = "data.csv"\n'
    )
    settings = AgentSettings.load(tmp_path / "agent.toml", {})
    source = open_source(settings.data)
    for text, waits in (("", ["data.csv"]), ("\n", []), ("8,", ["data.csv"])):
        with data.open("a") as file:
            file.write(text)
        told, as_json = StringIO(), StringIO()
        check(settings, told, as_json=False)
        check(settings, as_json, as_json=True)
        (uses,) = json.loads(as_json.getvalue())["uses"].values()
        assert uses["waits"] == waits
        lines = [line for line in told.getvalue().splitlines() if line.startswith("     waits")]
        said = "     waits  the last line of data.csv: used once it has a line end"
        assert lines == ([said] if waits else [])
        assert list(source.read().waiting) == waits, "also where the file was read before"


@pytest.mark.usefixtures("root")
def test_the_cap_of_the_fleet_is_told_where_the_device_knows_it(tmp_path: Path) -> None:
    """It was told with the model that is held; before that the device cannot know it."""
    assert "cap  " in checked(tmp_path, "", as_json=False)
    assert checked(tmp_path, "")["cap"] is None
    assert checked(tmp_path, "")["cap"] is None
    device = Device(tmp_path / "state", None)
    device.hears({**frames(3), LAB.round: seal(manifest(3, max_samples=25))})
    text = checked(tmp_path, "", as_json=False)
    assert_tells(text, "cap  ", "25 ", "25 of 32")
    device.hears({**frames(4), LAB.round: seal(manifest(4, max_samples=1_000))})
    assert_tells(checked(tmp_path, "", as_json=False), "cap  ", "1000 ", "32 ")
    assert checked(tmp_path, "")["cap"] == 1_000


@pytest.mark.usefixtures("root")
def test_a_cap_below_the_owners_minimum_keeps_the_device_from_taking_part(tmp_path: Path) -> None:
    Device(tmp_path / "state", None).hears({**frames(3), LAB.round: seal(manifest(3, max_samples=25))})
    with pytest.raises(DataError, match=telling("25 rows", "[data] minimum", "30")):
        checked(tmp_path, "minimum = 30\n")
