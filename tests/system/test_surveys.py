"""Real agents tell the same in every survey, until enough is new or their owner wants it."""

import json

import numpy as np
import pytest

from agent.__main__ import main as agent
from aggregator.__main__ import main as aggregator
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.survey import Survey
from fedge.wire.reasons import Reason
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, as_csv, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.wording import assert_tells, lines_telling

pytestmark = [pytest.mark.system, pytest.mark.slow]


class Surveyed:
    """Two devices, and surveys of them one after the other, each in a generation of its own."""

    def __init__(self, fleet: FleetOfProcesses) -> None:
        self.fleet = fleet
        self.generation = 0
        fleet.configure(model=CLASSIFIER, rounds={"quorum": 2, "target": 2}, stopping={"rounds": 1})
        for number in range(2):
            X, y = motions(number)
            fleet.csv_device(f"device-{number}", as_csv(X, y))
        fleet.start_devices()

    def append(self, first: int, count: int) -> None:
        X, y = motions(9, n=200)
        rows = as_csv(X[first : first + count], y[first : first + count], header=False)
        with (self.fleet.devices["device-0"].folder / "data.csv").open("a") as file:
            file.write(rows)

    def again(self) -> tuple[int, bytes]:
        """A new generation's survey: what device-0 tells of its rows."""
        fleet = self.fleet
        self.generation += 1
        options = ["--new-generation"] if self.generation > 1 else []
        fleet.start_aggregator("--exit-when-done", *options)
        assert fleet.ends() == 0
        pieces = query(
            fleet.ledger,
            "SELECT data FROM answers JOIN frames USING (device, digest)"
            " WHERE generation = ? AND round = 0 AND device = 'device-0' AND verdict = 'admitted' ORDER BY i",
            self.generation,
        )
        survey = unpack(b"".join(data for (data,) in pieces), Survey, max_bytes=MAX_SIZE)
        assert (survey.generation, survey.round) == (self.generation, 0)
        return survey.samples, survey.features


def test_two_surveys_around_one_new_row_tell_the_same(
    fleet: FleetOfProcesses, capsys: pytest.CaptureFixture[str]
) -> None:
    surveyed = Surveyed(fleet)
    first = surveyed.again()
    assert first[0] == 48
    surveyed.append(0, 1)
    assert surveyed.again() == first
    fleet.terminate("device-0")
    surveyed.append(1, 1)
    fleet.start_devices("device-0")
    assert surveyed.again() == first, "also after a restart"

    surveyed.append(2, 25)
    second = surveyed.again()
    assert (second[0], second[1] != first[1]) == (70, True)

    surveyed.append(27, 1)
    fleet.terminate("device-0")
    config = str(fleet.devices["device-0"].config)
    assert agent(["--config", config, "survey"]) == 0
    assert_tells(capsys.readouterr().out, "source data: 70 rows", "20 rows are new")
    assert agent(["--config", config, "survey", "--anew"]) == 0
    assert_tells(capsys.readouterr().out, "deleted", "data")
    fleet.start_devices("device-0")
    third = surveyed.again()
    assert (third[0], third[1] != second[1]) == (71, True)


def test_where_owners_agree_classes_are_told_and_the_plan_follows(
    fleet: FleetOfProcesses, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three devices of mostly one class each, one of which has a class that the task lacks; one is silent."""
    fleet.configure(
        model=CLASSIFIER,
        plan={"epochs": 20, "batch_size": 8},
        rounds={"quorum": 4, "deadline_s": 3_600.0},
        stopping={"rounds": 1},
    )
    for number in range(3):
        X, y = motions(number, n=100, leaning=1.0)
        if number == 0:
            y = np.where(np.arange(100) % 3 == 0, "jog", y)
        data = {"tell_classes": True, "unknown_labels": "drop"}
        fleet.csv_device(f"telling-{number}", as_csv(X, y), **data)
    fleet.csv_device("silent", as_csv(*motions(3, n=100)))
    fleet.csv_device("refusing", as_csv(X, np.where(y == "run", "sprint", y)), tell_classes=True)
    fleet.start_devices("refusing")
    fleet.start_aggregator()
    fleet.until(lambda: fleet.declined("refusing") is not None, "it declines before the others are done")
    declined = fleet.declined("refusing")
    assert declined is not None
    fleet.start_devices(*(name for name in fleet.devices if name != "refusing"))
    fleet.until(lambda: fleet.times_learnt() == 1, "all is learnt")
    members = [name for name in fleet.devices if name != "refusing"]
    fleet.until(lambda: all(fleet.seen()[name].samples for name in members), "all have told their rows")
    assert fleet.terminate("aggregator") == 0
    classes = ("3 of 4 ", "[data] tell_classes", "'jog' on 1", "'run' on 1", "'still' on 1", "'jog'")
    # 75 rows are the median, of one class on each device: 20 epochs of batches of 8 are too many there.
    plans = ("epochs = 20 ", "batch_size = 8 ", "(5", "epochs = 5,", "batch_size = 16,")
    assert lines_telling(fleet.log(), "WARNING", "round 1.0: ", *classes[:-1], "[model] classes", "'jog'")
    assert lines_telling(fleet.log(), *plans)
    assert declined.reason == Reason.BAD_DATA
    assert_tells(declined.detail, "line 2", "100 ", "still, walk, run", "sprint")
    assert lines_telling(fleet.log(), "refusing", f"({Reason.BAD_DATA})", declined.detail)
    assert aggregator(["--config", str(fleet.folder / "federation.toml"), "--check", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert_tells(shown["classes"], *classes)
    assert_tells(shown["advice"], *plans)
    config = str(fleet.devices["telling-0"].config)
    assert fleet.terminate("telling-0") == 0  # it may still write what it follows
    assert agent(["--config", config, "survey"]) == 0
    assert lines_telling(capsys.readouterr().out, "[data] tell_classes", "still (55 ", "jog (25 ")
    (silent,) = query(
        fleet.ledger,
        "SELECT data FROM answers JOIN frames USING (device, digest) WHERE round = 0 AND device = 'silent'",
    )
    assert unpack(silent[0], Survey, max_bytes=MAX_SIZE).classes is None
