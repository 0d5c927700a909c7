"""The device's time zone, for the hours of `[conditions]` and the end of a day.

The C library silently uses UTC for a name that it does not know.
"""

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import TZPATH

from fedge.errors import ConfigError

LOCALTIME = Path("/etc/localtime")
_RULE = re.compile(r"([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?\d{1,2}(:\d\d){0,2}(\D.*)?", re.ASCII)
"""A zone by its POSIX rule: CET-1CEST,M3.5.0,M10.5.0/3."""
_UNIVERSAL = frozenset({"", "UTC", "GMT", "UCT", "Zulu", "Universal"})


def check_zone(environment: Mapping[str, str] = os.environ, localtime: Path = LOCALTIME) -> None:
    """Check that the time zone exists.

    Raises:
        ConfigError: `TZ`, or without it /etc/localtime, does not name a zone, so that hours would be in UTC.
    """
    name = environment.get("TZ")
    if name is None:
        if localtime.is_symlink() and not localtime.exists():
            raise ConfigError(
                f"{localtime}: links to {localtime.readlink()}, which does not exist, so that the hours of "
                "[conditions] would be in UTC; install the time zones (tzdata), or set the zone "
                "(timedatectl set-timezone)"
            )
        return
    if not _is_zone(name.removeprefix(":")):
        raise ConfigError(
            f"environment variable TZ: {name!r} is not a time zone, so that the hours of [conditions] would "
            'be in UTC; write it as in /usr/share/zoneinfo ("Europe/Berlin"), install tzdata, or unset the '
            "variable"
        )


def _is_zone(name: str) -> bool:
    if name in _UNIVERSAL or _RULE.fullmatch(name):
        return True
    if name.startswith("/"):
        return Path(name).is_file()
    return any((Path(folder) / name).is_file() for folder in TZPATH)


def local_zone(environment: Mapping[str, str] = os.environ, localtime: Path = LOCALTIME) -> str:
    """Return the name of the zone, and the time there: `Europe/Berlin, now 21:31 +0100`."""
    name = environment.get("TZ", "").removeprefix(":")
    if not name and localtime.is_symlink():
        _, _, name = str(localtime.readlink()).partition("zoneinfo/")
    time.tzset()
    return f"{name or time.tzname[0]}, now {time.strftime('%H:%M %z')}"
