"""Real agents tell the same in every survey, until enough is new or their owner wants it."""

import pytest

from agent.__main__ import main as agent
from fedge.messages import MAX_SIZE, Survey, unpack
from tests.system.federations import CLASSIFIER, as_csv, motions
from tests.system.fleet_of_processes import FleetOfProcesses, query

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
