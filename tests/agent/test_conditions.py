"""What a device reads of itself, from trees like those of its kernel; and what this machine's kernel says."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.config import AgentSettings
from agent.core.conditions import Readings
from agent.shell.measured_conditions import SYNCHRONISED_US, Conditions, Host, kernel_clock_error_us, today
from agent.shell.traffic import TrafficBudget

SUPPLY, ZONE = "sys/class/power_supply", "sys/class/thermal"
SYNCHRONISED = "run/systemd/timesync/synchronized"


def machine(root: Path, files: Mapping[str, str] = {}, clock_error_us: int | None = None) -> Host:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Host(root, lambda: clock_error_us)


# ── the clock ──────────────────────────────────────────────────────────────────────────────────────


def test_a_clock_is_synchronised_by_timesyncd_or_as_the_kernel_says(tmp_path: Path) -> None:
    assert not machine(tmp_path, clock_error_us=None).synchronised()
    assert not machine(tmp_path, clock_error_us=SYNCHRONISED_US).synchronised()
    assert machine(tmp_path, clock_error_us=25_000).synchronised()
    assert machine(tmp_path, {SYNCHRONISED: ""}, clock_error_us=None).synchronised()


def test_the_date_is_told_by_a_synchronised_clock_alone(tmp_path: Path) -> None:
    assert today(machine(tmp_path)) is None
    assert today(machine(tmp_path, {SYNCHRONISED: ""})) == time.strftime("%Y-%m-%d")


def test_this_kernel_tells_its_clocks_error() -> None:
    error_us = kernel_clock_error_us()
    assert error_us is None or 0 <= error_us <= SYNCHRONISED_US


# ── power ──────────────────────────────────────────────────────────────────────────────────────────


def supplies(**kinds: str) -> dict[str, str]:
    """Power supplies by name: "Battery Discharging", "Mains 1", "Battery Discharging Device"."""
    files = {}
    for name, text in kinds.items():
        kind, state, *scope = text.split()
        key = "status" if kind in ("Battery", "UPS") else "online"
        files |= {f"{SUPPLY}/{name}/type": f"{kind}\n", f"{SUPPLY}/{name}/{key}": f"{state}\n"}
        if scope:
            files[f"{SUPPLY}/{name}/scope"] = f"{scope[0]}\n"
    return files


@pytest.mark.parametrize(
    ("kinds", "battery"),
    [
        ({}, None),
        ({"BAT0": "Battery Discharging"}, "BAT0"),
        ({"BAT0": "Battery Charging"}, None),
        ({"BAT0": "Battery Full", "AC": "Mains 1"}, None),
        ({"BAT0": "Battery Discharging", "AC": "Mains 0"}, "BAT0"),
        ({"BAT0": "Battery Discharging", "AC": "Mains 1"}, None),
        ({"BAT0": "Battery Discharging", "usb": "USB 1"}, None),
        ({"hat": "UPS Discharging"}, "hat"),
        ({"mouse": "Battery Discharging Device"}, None),
        ({"mouse": "Battery Discharging Device", "BAT1": "Battery Discharging System"}, "BAT1"),
    ],
)
def test_batteries(tmp_path: Path, kinds: dict[str, str], battery: str | None) -> None:
    assert machine(tmp_path, supplies(**kinds)).battery() == battery


# ── temperature and load ───────────────────────────────────────────────────────────────────────────


def zones(*found: tuple[str, str]) -> dict[str, str]:
    files = {}
    for number, (kind, millidegrees) in enumerate(found):
        files[f"{ZONE}/thermal_zone{number}/type"] = f"{kind}\n"
        files[f"{ZONE}/thermal_zone{number}/temp"] = f"{millidegrees}\n"
    return files


@pytest.mark.parametrize(
    ("found", "temperature_c"),
    [
        ((), None),
        ((("cpu-thermal", "48312"),), 48.312),
        ((("acpitz", "27800"), ("x86_pkg_temp", "61000"), ("battery", "90000")), 61.0),
        ((("cpu0-thermal", "50000"), ("cpu1-thermal", "53000")), 53.0),
        ((("acpitz", "27800"), ("wifi", "44000")), 44.0),
        ((("cpu-thermal", "no number"), ("acpitz", "27800")), 27.8),
        ((("cpu-thermal", ""),), None),
    ],
)
def test_temperatures(
    tmp_path: Path, found: tuple[tuple[str, str], ...], temperature_c: float | None
) -> None:
    assert machine(tmp_path, zones(*found)).temperature_c() == temperature_c


def test_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert machine(tmp_path).load() is None
    assert machine(tmp_path, {"proc/loadavg": "1.28 1.08 1.47 4/113 6909\n"}).load() == 0.32


def test_this_machines_load_is_the_kernels() -> None:
    found, average = Host(Path("/")).load(), os.getloadavg()[0]
    assert found is not None
    assert found * (os.cpu_count() or 1) == pytest.approx(average, abs=0.5)


# ── together ───────────────────────────────────────────────────────────────────────────────────────


class Empty:
    def moved(self) -> tuple[str, int]:
        return "", 0

    def save_moved(self, day: str, count: int) -> None:
        pass


def measured(folder: Path, host: Host, text: str, moved: int = 0) -> Readings:
    (folder / "agent.toml").write_text(
        f'federation = "lab"\ndevice = "pi-1"\n{text}\n[data]\nsource = "npz"\npath = "data.npz"\n'
    )
    settings = AgentSettings.load(folder / "agent.toml", {})
    conditions = Conditions(
        settings, host, TrafficBudget(Empty(), settings.limits.bytes_per_day, lambda: None, lambda: 0.0)
    )
    conditions.count(moved)
    return conditions.read()


def test_only_what_is_asked_for_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(time, "localtime", lambda: time.gmtime(5 * 3600 + 12 * 60))
    files = {
        **supplies(BAT0="Battery Discharging"),
        **zones(("cpu", "40000")),
        "proc/loadavg": "0.5 0 0 1/1 1",
    }
    host = machine(tmp_path, {**files, SYNCHRONISED: ""})
    assert measured(tmp_path, host, "") == Readings()
    assert measured(tmp_path, host, "[conditions]\nmains = true") == Readings(battery="BAT0")
    assert measured(tmp_path, host, "[conditions]\ntemperature_c = 60") == Readings(temperature_c=40.0)
    assert measured(tmp_path, host, "[conditions]\nload = 1") == Readings(load=0.5)
    assert measured(tmp_path, host, '[conditions]\nhours = "22:00-06:00"') == Readings(minute=312)
    assert measured(tmp_path, host, "[limits]\nbytes_per_day = 9", moved=7) == Readings(spent=7)
    (tmp_path / SYNCHRONISED).unlink()
    assert measured(tmp_path, host, '[conditions]\nhours = "22:00-06:00"') == Readings(minute=None)


def test_the_hours_are_those_of_the_devices_own_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = machine(tmp_path, {SYNCHRONISED: ""})
    minutes = []
    try:
        for zone in ("Etc/GMT", "Etc/GMT-5"):
            monkeypatch.setenv("TZ", zone)
            found = measured(tmp_path, host, '[conditions]\nhours = "22:00-06:00"').minute
            assert found is not None
            minutes.append(found)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (minutes[1] - minutes[0]) % 1440 in (300, 301), "five hours further east"
