"""What our modules do to the world while they are imported, one JSON list of lines.

    python -m tests.import_audit fedge agent     # all modules of these packages, in this order

A module is blamed for what it does itself or lets a library do; not for what a library does while that is
imported, nor for Python's own reading of modules. Pydantic reads the sources and the environment for each
model that is defined, Hypothesis the source of each property.
"""

import importlib
import json
import os
import random
import sys
import sysconfig
import threading
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
OUTSIDE = (
    "open",
    "subprocess.",
    "socket.",
    "sqlite3.connect",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "_thread.",
)
"""The audit events of what is outside of a module: files, programs, sockets, databases."""
LIBRARY = f"{Path(sysconfig.get_path('purelib'))}{os.sep}"
READERS = tuple(f"{LIBRARY}{name}{os.sep}" for name in ("pydantic", "hypothesis", "_hypothesis"))
DRAWS = (
    "random",
    "randint",
    "randrange",
    "randbytes",
    "getrandbits",
    "uniform",
    "gauss",
    "choice",
    "sample",
    "shuffle",
)


def blamed() -> str | None:
    """The line of ours that is at work; None: a library or Python is, for its own sake."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith((*READERS, "<frozen importlib")):
            return None
        if name.startswith(f"{ROOT}{os.sep}") and not name.startswith(LIBRARY):
            return f"{Path(name).relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def watch(found: set[str]) -> None:
    """Note from now on what modules do; it cannot be ended."""

    def event(name: str, values: tuple[Any, ...]) -> None:
        if name.startswith(OUTSIDE) and (line := blamed()):
            found.add(f"{line} {name} {values[:1]}")

    def over(place: Any, name: str, what: str) -> None:
        right = getattr(place, name)

        def noted(*values: Any, **named: Any) -> Any:
            if line := blamed():
                found.add(f"{line} {what} {values[-1:]}")
            return right(*values, **named)

        setattr(place, name, noted)

    for name in ("__getitem__", "__setitem__", "__iter__"):
        over(os._Environ, name, "environ")
    over(threading.Thread, "start", "thread")  # an audit event only since Python 3.12
    for name in DRAWS:
        over(random, name, "random")
    sys.addaudithook(event)


def modules(package: str) -> list[str]:
    """All modules of a package or of a folder with tests, but for those that are programs alone."""
    files = sorted((ROOT / package).rglob("*.py"))
    return [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]


def audit(packages: list[str], without: frozenset[str]) -> list[str]:
    """Import everything, and tell what that did."""
    found: set[str] = set()
    watch(found)
    for package in packages:
        for name in modules(package):
            if name not in without:
                importlib.import_module(name.removesuffix(".__init__"))
    found.update(f"a thread goes on: {each.name}" for each in threading.enumerate()[1:])
    return sorted(found)


if __name__ == "__main__":
    *packages, left_out = sys.argv[1:]
    print(json.dumps(audit(packages, frozenset(left_out.split(",")))))
