"""A rule and a server optimizer from outside, named in `federation.toml`, in a fleet of real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation.server_state import unpack
from fleet.demo.broker import Broker
from fleet.demo.processes import our_packages
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, motions, steady
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.operations_page import Shell, generations, weights

pytestmark = pytest.mark.system

ROUNDS = 4
PARTS = '\n[rule]\nname = "toy-median"\n\n[server]\nname = "toy-heavy"\nbeta = 0.25\n'


def configure(fleet: FleetOfProcesses, names: tuple[str, ...] = ("MEDIAN", "HEAVY")) -> None:
    steady(fleet, ROUNDS)
    file = fleet.folder / "federation.toml"
    extensions = ", ".join(f'"tests.aggregator.toys:{name}"' for name in names)
    file.write_text(f"extensions = [{extensions}]\n{file.read_text()}{PARTS}")


SEVERAL = """
import json, sys
from typer.testing import CliRunner
from fleet.cli.commands import app

for number in sys.argv[2:]:
    done = CliRunner().invoke(app, ["replay", number, "--config", sys.argv[1], "--json"])
    print(json.dumps([done.exit_code, done.stdout]))
"""
"""`fedge replay` for several rounds in one program: a program for each takes longer than all of them."""


def replayed(fleet: FleetOfProcesses, *numbers: int) -> list[dict[str, Any]]:
    """What `fedge replay` tells of these rounds, in a program that has loaded nothing before."""
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, str(fleet.folder / "federation.toml"), *map(str, numbers)],
        capture_output=True,
        text=True,
        env={**os.environ, **our_packages()},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [code for code, _ in found] == [0] * len(numbers), found
    return [json.loads(told) for _, told in found]


@pytest.mark.slow
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
            told = replayed(fleet, *range(ROUNDS + 1))
            assert [each["same"] for each in told] == [True] * (ROUNDS + 1)
            assert told[-1]["rule"] == "median/1"
    assert models[0] == models[1]


def test_a_part_whose_extension_is_not_named_ends_the_program_and_says_why(fleet: FleetOfProcesses) -> None:
    configure(fleet, ("MEDIAN",))
    fleet.start_aggregator()
    assert fleet.ends() == os.EX_CONFIG
    assert "[server]" in fleet.log()
    assert "toy-heavy" in fleet.log()


ADAM = '\n[server]\nname = "fedadam"\nrate = 0.05\n'
BETA1, BETA2 = 0.9, 0.99
"""FedAdam's defaults."""


def adam(fleet: FleetOfProcesses, rounds: int) -> None:
    file = fleet.folder / "federation.toml"
    fleet.configure(
        federation={"seed": 7},
        model=CLASSIFIER,
        plan={"epochs": 1, "batch_size": 8, "learning_rate": 0.05},
        rounds={"quorum": 2, "deadline_s": 300.0},
        stopping={"rounds": rounds},
    )
    file.write_text(f'extensions = ["examples.extend.fedadam:ENTRY"]\n{file.read_text()}{ADAM}')


def moments(fleet: FleetOfProcesses, generation: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    rows = query(
        fleet.ledger, "SELECT data FROM states WHERE (generation, round) = (?, ?)", generation, number
    )
    ((data,),) = rows
    state = unpack(data)
    return state["m"], state["v"]


def is_first_step(m: np.ndarray, v: np.ndarray) -> bool:
    """Whether both are of one change: m = (1 - β₁) Δ and v = (1 - β₂) Δ², which no later step leaves so."""
    change = m / (1 - BETA1)
    return bool(np.allclose(v, (1 - BETA2) * change**2, rtol=1e-9, atol=0))


@pytest.mark.slow
def test_a_generation_without_a_device_begins_with_the_optimizers_first_state(
    fleet: FleetOfProcesses,
) -> None:
    """By the command, with FedAdam: what it remembered is of rounds in which that device took part."""
    adam(fleet, 4)
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))
    fleet.start_aggregator("--exit-when-done")
    fleet.start_devices()
    assert fleet.ends() == 0, fleet.log()
    assert is_first_step(*moments(fleet, 1, 1))
    assert not is_first_step(*moments(fleet, 1, 2))
    assert fleet.admitted(3) == {"device-0", "device-1", "device-2"}

    code, said = Shell(fleet).type("fedge-aggregator new-generation --from-round 2 --without device-2")
    assert code == 0, said
    assert weights(fleet, 2, 0) not in {weights(fleet, 1, number) for number in range(5)}
    (told,) = replayed(fleet, 0)
    assert told["same"]
    assert told["samples"].keys() == {"device-0", "device-1"}

    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0, fleet.log()
    assert {(2, 1), (2, 2)} <= generations(fleet)
    assert is_first_step(*moments(fleet, 2, 1))
    assert not is_first_step(*moments(fleet, 2, 2))
    assert [each["same"] for each in replayed(fleet, 1, 2)] == [True, True]
