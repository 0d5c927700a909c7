"""A federation with differential privacy, of real processes: what it tells, pays for and refuses."""

import json
import shutil
from typing import Any

import onnx
import pytest
from safetensors import safe_open

from aggregator.aggregation.replay import replay
from fedge.privacy.accountant import Training, guarantee
from fedge.service.failpoints import VARIABLE
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.private_fleet import COLUMNS, history

pytestmark = pytest.mark.system

PRIVACY: dict[str, Any] = {
    "epsilon": 12.0,
    "noise_multiplier": 1.0,
    "rounds": 4,
    "cohort": 3,
    "clip": 1.0,
    "columns": COLUMNS,
}
"""Four releases at z = 1 are one at z = 1/2, which costs less than ε = 12 at δ = 1e-5."""


def private(fleet: FleetOfProcesses, rounds: int = 4, devices: int = 3, **changes: Any) -> None:
    fleet.configure(
        federation={"seed": 7},
        model=CLASSIFIER,
        plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05},
        rounds={"quorum": 3, "deadline_s": 300.0},
        stopping={"rounds": rounds},
        privacy={**PRIVACY, **changes},
    )
    for number in range(devices):
        name = f"device-{number}"
        if name not in fleet.devices:
            device = fleet.device(name, *motions(number))
            device.config.write_text(device.config.read_text() + '\n[trust]\nrequire = ["private"]\n')


def test_a_private_federation_learns_and_pays(fleet: FleetOfProcesses) -> None:
    private(fleet)
    fleet.start_devices()
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0
    assert [(row.round, row.kind, row.devices) for row in fleet.rounds()] == [
        (0, "given", 0),
        *[(number, "train", 3) for number in (1, 2, 3, 4)],
    ]
    charges = history(fleet).charges
    assert [each.position.round for each in charges] == [1, 2, 3, 4]
    for number in range(5):
        assert replay(fleet.ledger, number, 7).same, number
    seeds = [seed for (seed,) in query(fleet.ledger, "SELECT seed FROM noise")]
    assert len(set(seeds)) == 4
    # Nothing is told of the rows, and nothing of it is in what the aggregator says.
    for samples, metrics in query(fleet.ledger, "SELECT samples, metrics FROM answers"):
        assert samples == 1
        assert "loss" not in metrics
        assert "accuracy" not in metrics
    assert query(fleet.ledger, "SELECT DISTINCT samples FROM devices") == [(None,)]
    for word in ("loss", "accuracy"):
        assert word not in fleet.log().split("connected to")[1], word


@pytest.mark.slow
def test_each_file_of_the_model_tells_what_it_cost(fleet: FleetOfProcesses) -> None:
    private(fleet, rounds=2)
    fleet.start_devices()
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0
    manifest = json.loads((fleet.export / "manifest.json").read_text())
    told = manifest["privacy"]
    assert (told["mechanism"], told["unit"], told["adjacency"]) == ("central", "device", "add-remove")
    assert (told["epsilon"], told["delta"], told["releases"], told["rounds"]) == (12.0, 1e-5, 2, 4)
    cost = guarantee(Training(1.0, 2), 1e-5).epsilon
    assert told["epsilon_spent"] == cost
    with safe_open(fleet.export / "model.safetensors", "np") as file:
        assert json.loads(file.metadata()["fedge"])["privacy"] == told
    model = onnx.load_model(fleet.export / "model.onnx")
    assert json.loads({each.key: each.value for each in model.metadata_props}["privacy"]) == told
    assert manifest["round"] == 2, "the newest, because none is measured"
    assert "loss" not in manifest["metrics"]


# ── refusals, by the exit code ─────────────────────────────────────────────────────────────────────


def refused_with(fleet: FleetOfProcesses, *options: str) -> str:
    """Start the aggregator, which must refuse to release anything; the reason that it logs."""
    announced = fleet.final_model()
    fleet.start_aggregator("--exit-when-done", *options)
    assert fleet.ends() == 77
    (last,) = [line for line in fleet.log().splitlines() if "privacy (" in line][-1:]
    assert "nothing is released" in last
    assert fleet.final_model() == announced
    return last.partition("privacy (")[2].partition(")")[0]


@pytest.mark.slow
def test_no_release_without_the_history_of_all_releases(fleet: FleetOfProcesses) -> None:
    private(fleet, rounds=2)
    fleet.start_devices()
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0
    older = fleet.folder / "older"
    shutil.copytree(fleet.state, older)
    private(fleet, rounds=4)
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0
    assert len(history(fleet).charges) == 4
    assert refused_with(fleet, "--new-generation") == "spent"
    private(fleet, epsilon=13.0)
    assert refused_with(fleet) == "changed"
    private(fleet)
    newest = fleet.folder / "newest"
    fleet.state.rename(newest)
    shutil.copytree(older, fleet.state)
    assert refused_with(fleet, "--new-generation") == "behind"
    shutil.rmtree(fleet.state)
    fleet.state.mkdir()
    fleet.start_aggregator("--exit-when-done", "--new-generation")
    assert fleet.ends() == 77
    assert "privacy (missing)" in fleet.log()
    shutil.rmtree(fleet.state)
    newest.rename(fleet.state)
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0, "with the newest ledger it serves the last model"


# ── crashes ────────────────────────────────────────────────────────────────────────────────────────


POINTS = ("Average.before", "Average.after", "Commit.before:9", "Commit.after:9", "PublishManifest.before:2")


@pytest.mark.parametrize(
    "point", [p if p == "Commit.after:9" else pytest.param(p, marks=pytest.mark.slow) for p in POINTS]
)
def test_a_crash_at_any_point_pays_for_each_release_once(
    fleet: FleetOfProcesses, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    private(fleet)
    fleet.start_devices()
    with monkeypatch.context() as armed:
        armed.setenv(VARIABLE, point)
        fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == -9
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0
    assert [each.position.round for each in history(fleet).charges] == [1, 2, 3, 4]
    assert len({seed for (seed,) in query(fleet.ledger, "SELECT seed FROM noise")}) == 4
    assert all(replay(fleet.ledger, number, 7).same for number in range(5))
