"""What the library has where only a device's packages are installed, and what it says of the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fedge
from fleet.__main__ import EXTRAS

ROOT = Path(__file__).parents[3]
NEEDING_MORE = {"simulate"}
PACKAGES = sorted(set().union(*EXTRAS.values()))


def asked_for(name: str) -> str:
    """What asking for a name ends in, in a program that has none of the extras."""
    code = (
        "import sys\n"
        f"for package in {PACKAGES}: sys.modules[package] = None\n"
        "import fedge\n"
        f"try: fedge.{name}\n"
        "except fedge.ConfigError as error: print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(NEEDING_MORE))
def test_what_needs_more_packages_says_which(name: str) -> None:
    assert "fedge[aggregator]" in asked_for(name)


def test_all_else_is_there_on_a_device() -> None:
    names = sorted(set(fedge.__all__) - NEEDING_MORE)
    assert asked_for(", fedge.".join(names)) == ""


def test_importing_fedge_imports_nothing_of_it() -> None:
    code = "import sys, fedge; print(*{'agent', 'aggregator', 'fleet', 'numpy'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []
