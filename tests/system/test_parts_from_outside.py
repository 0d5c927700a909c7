"""A rule and a server optimizer from outside, named in `federation.toml`, in a fleet of real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.demo.broker import Broker
from fleet.demo.processes import our_packages
from tests.system.federations import steady
from tests.system.fleet_of_processes import FleetOfProcesses

pytestmark = pytest.mark.system

ROUNDS = 4
PARTS = '\n[rule]\nname = "toy-median"\n\n[server]\nname = "toy-heavy"\nbeta = 0.25\n'


def configure(fleet: FleetOfProcesses, names: tuple[str, ...] = ("MEDIAN", "HEAVY")) -> None:
    steady(fleet, ROUNDS)
    file = fleet.folder / "federation.toml"
    extensions = ", ".join(f'"tests.aggregator.toys:{name}"' for name in names)
    file.write_text(f"extensions = [{extensions}]\n{file.read_text()}{PARTS}")


def replayed(fleet: FleetOfProcesses, number: int) -> tuple[int, str]:
    command = ["replay", str(number), "--config", str(fleet.folder / "federation.toml"), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "fleet", *command],
        capture_output=True,
        text=True,
        env={**os.environ, **our_packages()},
        check=False,
    )
    return done.returncode, done.stdout or done.stderr


def test_they_make_the_model_and_a_power_cut_changes_no_bit(tmp_path: Path, broker: Broker) -> None:
    models = []
    for folder, cut in (("left alone", False), ("cut", True)):
        with FleetOfProcesses(tmp_path / folder, broker) as fleet:
            configure(fleet)
            fleet.start_aggregator("--exit-when-done")
            fleet.start_devices()
            if cut:
                fleet.until(lambda: sum(row.closed for row in fleet.rounds()) >= 3, "two rounds of training")
                fleet.kill("aggregator")
                fleet.start_aggregator("--exit-when-done")
            assert fleet.ends() == 0
            models.append(fleet.final_model())
            for number in range(ROUNDS + 1):
                code, told = replayed(fleet, number)
                assert (code, json.loads(told)["same"]) == (0, True), number
            assert json.loads(told)["rule"] == "median/1"
    assert models[0] == models[1]


def test_a_part_whose_extension_is_not_named_ends_the_program_and_says_why(fleet: FleetOfProcesses) -> None:
    configure(fleet, ("MEDIAN",))
    fleet.start_aggregator()
    assert fleet.ends() == os.EX_CONFIG
    assert "[server]" in fleet.log()
    assert "toy-heavy" in fleet.log()
