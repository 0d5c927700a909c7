"""Measures the quantities that the owner's conditions use: clock, power, temperature, load, bytes."""

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path

from agent.config import AgentSettings
from agent.core.conditions import Readings
from agent.shell.traffic import TrafficBudget

ROOT_VARIABLE = "FEDGE_HOST_ROOT"
"""Where the machine's own /sys, /proc and /run are mounted, for an agent in a container."""

SYNCHRONISED_US = 16_000_000
"""The kernel's estimate of its clock's error grows to this many microseconds if nothing sets the clock."""

PROCESSOR_ZONES = ("cpu", "soc", "pkg")


class Host:
    """The machine, as its kernel describes it.

    Args:
        root: where its /sys, /proc and /run are.
        clock_error_us: the kernel's estimate; None: unknown.
    """

    def __init__(self, root: Path, clock_error_us: Callable[[], int | None] | None = None) -> None:
        self._root = root
        self._clock_error_us = clock_error_us or kernel_clock_error_us

    def synchronised(self) -> bool:
        """Whether the clock has been set by the network, or by another time source, since the boot."""
        if (self._root / "run/systemd/timesync/synchronized").exists():
            return True
        # Like timedatectl, without STA_UNSYNC, which some daemons set so that the kernel leaves the hardware
        # clock alone.
        error_us = self._clock_error_us()
        return error_us is not None and error_us < SYNCHRONISED_US

    def battery(self) -> str | None:
        """The name of a battery that supplies this machine; None: it has other power, or no battery."""
        discharged = None
        for supply in sorted((self._root / "sys/class/power_supply").glob("*")):
            if _read(supply / "type") in ("Battery", "UPS"):
                own = _read(supply / "scope") != "Device"  # a mouse has a battery too
                if own and _read(supply / "status") == "Discharging":
                    discharged = supply.name
            elif _read(supply / "online") == "1":
                return None
        return discharged

    def temperature_c(self) -> float | None:
        """The hottest of the processor's zones, in degrees Celsius, or of all zones if none is known to be
        its."""
        zones = []
        for zone in (self._root / "sys/class/thermal").glob("thermal_zone*"):
            millidegrees = _number(_read(zone / "temp"))
            if millidegrees is not None:
                kind = (_read(zone / "type") or "").lower()
                zones.append((any(mark in kind for mark in PROCESSOR_ZONES), millidegrees / 1_000))
        return max(zones)[1] if zones else None

    def load(self) -> float | None:
        """The load average of the last minute, divided by the number of cores."""
        words = (_read(self._root / "proc/loadavg") or "").split()
        load = _number(words[0]) if words else None
        return None if load is None else load / (os.cpu_count() or 1)


class Conditions:
    """Measures what the owner's limits and conditions need, and nothing else."""

    def __init__(self, settings: AgentSettings, host: Host, meter: TrafficBudget) -> None:
        self._wanted = settings.conditions
        self._host = host
        self._meter = meter

    def count(self, transferred: int) -> None:
        """Record how many bytes were moved since the program began."""
        self._meter.count(transferred)

    @property
    def used_up(self) -> bool:
        """Whether today's bytes are used up."""
        return self._meter.used_up

    def close(self) -> None:
        """Save what must be known after a restart."""
        self._meter.close()

    def read(self) -> Readings:
        """The present readings."""
        wanted, host = self._wanted, self._host
        return Readings(
            minute=_minute() if wanted.hours is not None and host.synchronised() else None,
            battery=host.battery() if wanted.mains else None,
            temperature_c=host.temperature_c() if wanted.temperature_c is not None else None,
            load=host.load() if wanted.load is not None else None,
            spent=self._meter.spent,
        )


def this_host() -> Host:
    """The machine that this program runs on, or the one that `ROOT_VARIABLE` names."""
    return Host(Path(os.environ.get(ROOT_VARIABLE) or "/"))


def today(host: Host) -> str | None:
    """The date in the device's time zone; None while its clock is not synchronised."""
    if not host.synchronised():
        return None
    time.tzset()  # the zone may have been changed since the program began
    return time.strftime("%Y-%m-%d")


def _minute() -> int:
    time.tzset()
    now = time.localtime()
    return 60 * now.tm_hour + now.tm_min


class _Timex(ctypes.Structure):
    """The beginning of `struct timex`, adjtimex(2), with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_char * 512),
    )


def kernel_clock_error_us() -> int | None:
    """The kernel's estimate of its clock's error, in microseconds; None: unknown.

    A service without access to the clock (systemd's ProtectClock=) cannot ask for it.
    """
    answer = _Timex()  # modes 0: only ask
    try:
        failed = ctypes.CDLL(None).adjtimex(ctypes.byref(answer)) == -1
    except (OSError, AttributeError):
        return None
    return None if failed else int(answer.maxerror)


def _read(file: Path) -> str | None:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:  # some sensors are there and cannot be read
        return None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
