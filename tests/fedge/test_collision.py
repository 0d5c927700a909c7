"""Packages of the same names as ours are noticed, and told by every program that is asked."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.__main__ import main as agent
from aggregator.__main__ import main as aggregator
from fedge.service import collision
from fleet.cli.commands import app
from tests.called import call
from tests.wording import assert_tells

FEDERATION = """
[federation]
name = "lab"
[model]
features = ["u", "v"]
classes = ["0", "1"]
"""
DEVICE = """
federation = "lab"
device = "pi-1"
[data]
source = "csv"
path = "data.csv"
label = "state"
"""


def test_our_own_packages_are_no_collision() -> None:
    assert collision.collisions() == []


def test_a_package_of_ours_that_is_found_elsewhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "__init__.py").write_text("")
    path = os.pathsep.join((str(tmp_path), str(Path.cwd())))
    code = "from fedge.service.collision import collisions; print(*collisions(), sep='\\n')"
    result = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert_tells(result.stdout, "'agent'", str(tmp_path / "agent"))
    assert "aggregator" not in result.stdout


def install_cars(site: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str) -> None:
    """Another distribution, with what its installer says of its files."""
    info = site / "cars-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cars\nVersion: 1.0\n")
    (info / file).write_text(text)
    monkeypatch.syspath_prepend(str(site))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("RECORD", "cars/__init__.py,,\nfleet/__init__.py,sha256=x,0\n"),
        ("RECORD", "fleet.py,sha256=x,0\n"),
        ("top_level.txt", "cars\nfleet\n"),
    ],
)
def test_a_distribution_with_a_package_of_the_same_name_is_told(
    file: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_cars(tmp_path, monkeypatch, file, text)
    (sentence,) = collision.collisions()
    assert_tells(sentence, "cars", "'fleet'")
    result = CliRunner().invoke(app, ["demo", "--devices", "21"])
    assert_tells(result.stderr, "warning: ", "cars", "'fleet'")


def test_names_that_only_begin_or_end_like_ours_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = "fleets/__init__.py,,\ncars/fleet/__init__.py,,\nfleet_of_cars.py,,\ncars/agent.py,,\n"
    install_cars(tmp_path, monkeypatch, "RECORD", names)
    assert collision.collisions() == []


@pytest.mark.parametrize(("main", "settings"), [(agent, DEVICE), (aggregator, FEDERATION)])
def test_a_check_of_the_configuration_tells_it_beside_the_answer(
    main: Callable[[list[str]], int],
    settings: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install_cars(tmp_path, monkeypatch, "RECORD", "fleet/__init__.py,,\n")
    config = tmp_path / "settings.toml"
    config.write_text(settings)
    (tmp_path / "data.csv").write_text("u,v,state\n" + "1,2,a\n2,1,b\n" * 20)
    told = call(main, "--config", config, "--check", "--json")
    assert told.returncode == 0
    assert_tells(told.stderr, "cars", "'fleet'")
    assert told.stdout.startswith("{")
    assert len(told.stdout.splitlines()) == 1


def test_a_package_that_cannot_be_found_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert len(collision.collisions()) == 3
