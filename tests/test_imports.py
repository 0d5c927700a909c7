"""Nothing happens when a module is imported: no file is read, no variable, nothing is started."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.import_audit import ROOT

PROGRAMS = "agent.__main__,aggregator.__main__"
"""They set the number of BLAS threads in the environment before NumPy loads, which is when that is read."""
SCRIPTS = "tests.deploy.freeze"
"""A script for another machine, which is no module."""


CHOICES = ("environ ('PATH',)", "environ ('FEDGE_TEST_BROKERS',)")
"""What decides which tests there are has to be asked when they are collected."""


def done_by(*packages: str, without: str = "", folder: Path = ROOT) -> list[str]:
    command = [sys.executable, "-m", "tests.import_audit", *packages, without]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    found = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert found.returncode == 0, found.stderr
    lines: list[str] = json.loads(found.stdout)
    return lines


def test_importing_the_programs_does_nothing() -> None:
    assert done_by("fedge", "agent", "aggregator", "fleet", without=PROGRAMS) == []


@pytest.mark.slow
def test_importing_the_tests_reads_no_file_and_starts_nothing() -> None:
    found = done_by("tests", without=SCRIPTS)
    assert [line for line in found if line.startswith("tests/") and not line.endswith(CHOICES)] == []


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("import pathlib; pathlib.Path(__file__).read_text()", "open"),
        ("import numpy; numpy.loadtxt([__file__][0], dtype=str, max_rows=1)", "open"),
        ("import os; os.environ.get('HOME')", "environ"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import threading; threading.Thread(target=int).start()", "thread"),
        ("import socket; socket.socket().close()", "socket.__new__"),
        ("import random; random.random()", "random"),
    ],
)
def test_what_a_module_does_is_seen(tmp_path: Path, line: str, event: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "import_audit.py").write_text((ROOT / "tests" / "import_audit.py").read_text())
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "module.py").write_text(f"{line}\n")
    assert any(found.startswith(f"ours/module.py:1 {event}") for found in done_by("ours", folder=tmp_path))
