"""A failpoint kills where it says, the time it says, and is nothing when nobody asks for it."""

import subprocess
import sys

import pytest

from fedge.errors import ConfigError
from fedge.service import failpoints

PROGRAM = """
from fedge.service import failpoints

class Save:
    pass

failpoints.arm(["Save", "Announce"])
for number in range(3):
    for what in (Save(), "Announce"):
        failpoints.before(what)
        print(number, what if isinstance(what, str) else "Save", flush=True)
        failpoints.after(what)
"""
EVERYTHING = [f"{number} {what}" for number in range(3) for what in ("Save", "Announce")]


@pytest.mark.parametrize(
    ("point", "seen"),
    [
        ("Save.before", 0),
        ("Save.after", 1),
        ("Announce.before", 1),
        ("Announce.after", 2),
        ("Save.before:1", 0),
        ("Save.before:3", 4),
        ("Announce.after:2", 4),
        ("Announce.after:4", None),
        ("", None),
    ],
)
def test_the_process_dies_exactly_there(point: str, seen: int | None) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": ":".join(sys.path), failpoints.VARIABLE: point},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (0 if seen is None else -9), done.stderr
    assert done.stdout.splitlines() == EVERYTHING[:seen]


@pytest.mark.parametrize(
    "text", ["Save", "Save.during", "Sleep.before", "Save.before:0", "Save.before:x", ":1"]
)
def test_a_name_that_is_none_is_told_with_those_that_are(text: str) -> None:
    with pytest.raises(ConfigError, match=rf"FEDGE_FAILPOINT: .*{text}.* Announce, Save$"):
        failpoints.arm(["Save", "Announce"], {failpoints.VARIABLE: text})
