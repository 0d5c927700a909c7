"""Real agents tell the same in every survey, until enough is new or their owner wants it."""

import numpy as np
import pytest

from agent.__main__ import main as agent
from aggregator.__main__ import main as aggregator
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.survey import Survey
from tests.system.federations import CLASSIFIER, as_csv, motions
from tests.system.fleet_of_processes import FleetOfProcesses, query
from tests.wording import lines_telling

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
    assert "source data: 70 rows were measured; the next survey tells this again" in capsys.readouterr().out
    assert agent(["--config", config, "survey", "--anew"]) == 0
    assert "forgotten: what was told of data" in capsys.readouterr().out
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
    fleet.until(lambda: "refusing declines" in fleet.log(), "it declines before the others are done")
    fleet.start_devices(*(name for name in fleet.devices if name != "refusing"))
    fleet.until(lambda: "learning is done" in fleet.log(), "all is learnt")
    members = [name for name in fleet.devices if name != "refusing"]
    fleet.until(lambda: all(fleet.seen()[name].samples for name in members), "all have told their rows")
    assert fleet.terminate("aggregator") == 0
    told = "3 of 4 devices tell their classes ([data] tell_classes): 'jog' on 1, 'run' on 1, 'still' on 1, "
    assert f"WARNING round 1.0: {told}" in fleet.log()
    assert "not in [model] classes: 'jog'. Rows of these are left out" in fleet.log()
    assert "classes differ much between devices (5" in fleet.log()
    assert lines_telling(fleet.log(), "classes differ much", "Proposed: epochs = 5, batch_size = 16")
    declined = "the answer names none of the task's classes (100 such rows); they are still, walk, run; "
    assert f"refusing declines (bad_data): line 2: {declined}here there are sprint" in fleet.log()
    assert aggregator(["--config", str(fleet.folder / "federation.toml"), "--check"]) == 0
    shown = capsys.readouterr().out
    assert f"classes  {told}" in shown
    assert "classes differ much between devices" in shown
    config = str(fleet.devices["telling-0"].config)
    assert fleet.terminate("telling-0") == 0  # it may still write what it follows
    assert agent(["--config", config, "survey"]) == 0
    assert "classes, rounded ([data] tell_classes): still (55 rows), jog (25 rows)" in capsys.readouterr().out
    (silent,) = query(
        fleet.ledger,
        "SELECT data FROM answers JOIN frames USING (device, digest) WHERE round = 0 AND device = 'silent'",
    )
    assert unpack(silent[0], Survey, max_bytes=MAX_SIZE).classes is None
