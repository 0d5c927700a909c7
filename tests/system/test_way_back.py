"""docs/operations.md, "A bad model went out": a fleet goes back to a round, and on without the culprit."""

import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from aggregator.aggregation.replay import replay
from aggregator.shell.orders import FILE as ORDER
from fleet.demo.processes import our_packages
from tests import milestones
from tests.system.audit import check_books
from tests.system.databases import query
from tests.system.devices import Device
from tests.system.federations import CLASSES, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.going_back import GOOD, SEED, WALK, federation
from tests.system.operations_page import Shell, blocks, generations, weights
from tests.wording import assert_tells, lines_telling

pytestmark = [pytest.mark.system, pytest.mark.slow]


def spoil(device: Device) -> None:
    """Its labels are all wrong from now on, and it has many times the samples of the others."""
    X, y = motions(9, n=2_000)
    wrong = {each: CLASSES[(number + 1) % 3] for number, each in enumerate(CLASSES)}
    np.savez(device.folder / "new.npz", X=X, y=np.array([wrong[label] for label in y]))
    (device.folder / "new.npz").replace(device.folder / "samples.npz")


def accuracy(fleet: FleetOfProcesses, generation: int, number: int) -> float:
    """Of the model of a round, as the honest devices measured it in the next one; each counts alike."""
    rows = query(
        fleet.ledger,
        "SELECT metrics FROM answers WHERE generation = ? AND round = ? AND verdict = 'admitted'"
        " AND device != 'pump-9'",
        generation,
        number + 1,
    )
    return float(np.mean([json.loads(metrics)["accuracy_before"] for (metrics,) in rows]))


def counted(fleet: FleetOfProcesses, generation: int) -> set[str]:
    rows = query(
        fleet.ledger, "SELECT device FROM answers WHERE generation = ? AND verdict = 'admitted'", generation
    )
    return {device for (device,) in rows}


def test_a_bad_model_went_out(fleet: FleetOfProcesses, shell: Shell) -> None:
    federation(fleet, rounds=2_000)
    for number in range(4):
        fleet.device(f"device-{number}", *motions(number))
    culprit = fleet.device("pump-9", *motions(9))
    culprit.hold(1 + GOOD + 1)  # the survey, so many rounds, and here it waits
    fleet.start_aggregator()
    fleet.start_devices()
    honest = {f"device-{number}" for number in range(4)}
    fleet.until(lambda: fleet.admitted(GOOD + 1) == honest, f"round {GOOD + 1} waits for the culprit")
    spoil(culprit)
    culprit.hold(1 + GOOD + 4)  # three rounds in which it does harm
    fleet.until(lambda: fleet.admitted(GOOD + 4) == honest, f"round {GOOD + 4} waits for the culprit")
    assert accuracy(fleet, 1, GOOD) - accuracy(fleet, 1, GOOD + 2) > 0.1, "it is a bad model"
    lines = re.findall(rf"round 1\.(\d+): {milestones.closed('train')}, .*accuracy ([\d.]+)", fleet.log())
    told = {int(number): float(figure) for number, figure in lines}
    assert told[GOOD] - min(told[GOOD + 1], told[GOOD + 2], told[GOOD + 3]) > 0.1, "and the log says so"
    fleet.terminate("device-3")  # one is away, with the bad model

    good, walked = weights(fleet, 1, GOOD), [blocks()[WALK][number].strip() for number in (0, 1)]
    assert all("\n" not in command for command in walked)
    said = shell.tell(WALK, 0)
    assert_tells(said, "pump-9", "quarantine")
    fleet.until(lambda: (1, GOOD + 4) in generations(fleet), "the open round is closed without it")
    said = shell.tell(WALK, 1)
    assert_tells(said, "2.1")
    assert weights(fleet, 2, 0) == good
    assert replay(fleet.ledger, 0, SEED).same

    culprit.release()
    fleet.until(lambda: (2, 6) in generations(fleet), "learning goes on")
    assert counted(fleet, 2) == honest - {"device-3"}
    assert accuracy(fleet, 2, 5) > accuracy(fleet, 1, GOOD) - 0.1
    fleet.start_devices("device-3")
    fleet.until(lambda: "device-3" in counted(fleet, 2), "who was away follows and takes part")
    fleet.until(lambda: bool(lines_telling(fleet.log("pump-9"), "aside")), "the culprit is told")
    assert lines_telling(fleet.log(), "pump-9", "aside")

    assert_tells(shell.tell(WALK, 2), "pump-9", "quarantine")
    fleet.until(lambda: "pump-9" in counted(fleet, 2), "it counts again")
    assert check_books(fleet) > 0
    assert all("Traceback" not in fleet.log(name) for name in ("aggregator", *fleet.devices))


def test_rounds_are_computed_again_and_the_export_says_where_it_is_from(
    fleet: FleetOfProcesses, shell: Shell
) -> None:
    federation(fleet, rounds=GOOD + 2)
    for name in ("device-0", "device-1", "pump-9"):
        fleet.device(name, *motions(len(fleet.devices)))
    fleet.start_aggregator()
    fleet.start_devices()
    fleet.until(lambda: (1, GOOD + 3) in generations(fleet), "it is learnt, and the last model is measured")
    code, said = shell.type("fedge-aggregator new-generation --from-round 99")
    assert code == 65, said
    assert_tells(said, "1.99", "1.15")
    code, said = shell.type(f"{blocks()[WALK][3].strip()} nobody")
    assert code == 65, said
    assert_tells(said, "--without", "nobody")
    code, said = shell.type("fedge-aggregator new-generation --without pump-9")
    assert code == 64, said
    assert_tells(said, "--without", "--from-round")
    assert max(generations(fleet)) == (1, GOOD + 3), "nothing has changed"

    for name in fleet.devices:
        fleet.terminate(name)  # so that the export stays where it is
    shell.tell(WALK, 3)
    manifest = fleet.export / "manifest.json"
    fleet.until(
        lambda: json.loads(manifest.read_text())["generation"] == 2 if manifest.exists() else False,
        "it is exported",
    )
    about = json.loads(manifest.read_text())
    assert about["round"] == 0
    assert_tells(about["from"], "1.12", "1.14")
    again = replay(fleet.ledger, 0, SEED)
    assert again.same
    assert set(again.samples) == {"device-0", "device-1"}

    before = weights(fleet, 2, 0)
    shell.tell(WALK, 4)
    assert weights(fleet, 3, 0) != before, "folded into other frozen layers"
    assert replay(fleet.ledger, 0, SEED).same
    fleet.start_devices()
    fleet.until(lambda: (3, 3) in generations(fleet), "learning goes on")
    assert replay(fleet.ledger, 0, SEED).same
    assert "from" not in json.loads(manifest.read_text()) or about["generation"] < 3


def test_whoever_is_killed_in_between_the_generation_begins_once(
    fleet: FleetOfProcesses, shell: Shell
) -> None:
    federation(fleet, rounds=6)
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))
    fleet.start_aggregator()
    fleet.start_devices()
    fleet.until(lambda: (1, 6) in generations(fleet), "it is learnt")
    order = fleet.state / ORDER

    # The command is killed when it has given its order, and the aggregator before it has heard of it.
    fleet.pause("aggregator")
    typing = subprocess.Popen(
        [sys.executable, "-m", "aggregator", "new-generation", "--from-round", "4"],
        cwd=fleet.folder,
        env={**shell.environment, **our_packages()},
    )
    fleet.until(order.exists, "the order is given")
    typing.send_signal(signal.SIGKILL)
    typing.wait()
    fleet.kill("aggregator")
    assert (2, 0) not in generations(fleet)
    fleet.start_aggregator()
    fleet.until(lambda: (2, 0) in generations(fleet), "it begins when the aggregator is started")
    fleet.kill("aggregator")  # wherever it is by now
    assert weights(fleet, 2, 0) == weights(fleet, 1, 4)
    fleet.start_aggregator()
    fleet.until(lambda: (2, 6) in generations(fleet), "it is learnt, in that generation")
    assert not order.exists()

    # Where nobody is at work it is begun here, and a killed command may be given again.
    assert fleet.terminate("aggregator") == 0
    backup = fleet.folder / "kept"
    for attempt in range(4):
        shutil.rmtree(backup, ignore_errors=True)
        typing = subprocess.Popen(
            [sys.executable, "-m", "aggregator", "new-generation", "--from-round", "1.5"],
            cwd=fleet.folder,
            env={**shell.environment, **our_packages()},
            stdout=subprocess.DEVNULL,
        )
        try:
            typing.wait(0.3 + 0.3 * attempt)
        except subprocess.TimeoutExpired:
            typing.kill()
            typing.wait()
        newest = max(generations(fleet))
        assert newest in ((2, 6), *((3 + number, 0) for number in range(attempt + 1)))
    code, said = shell.type("fedge-aggregator new-generation --from-round 1.5")
    assert code == 0, said
    (generation, number) = max(generations(fleet))
    assert number == 0
    assert weights(fleet, generation, 0) == weights(fleet, 1, 5)
    assert replay(fleet.ledger, 0, SEED).same
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0, fleet.log()
    final = fleet.final_model()
    fleet.until(lambda: all(d.held_model() == final for d in fleet.devices.values()), "all devices hold it")


def test_after_the_end_new_stopping_rules_are_enough(fleet: FleetOfProcesses) -> None:
    federation(fleet, rounds=2)
    for number in range(2):
        fleet.device(f"device-{number}", *motions(number))
    fleet.start_aggregator("--exit-when-done")
    fleet.start_devices()
    assert fleet.ends() == 0
    assert max(generations(fleet)) == (1, 3), "the third one measures the model of the second"
    federation(fleet, rounds=4)
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0
    assert max(generations(fleet)) == (1, 6), "two more and another one that measures"
    assert [row.kind for row in fleet.rounds()].count("survey") == 1
    assert check_books(fleet) == 4
