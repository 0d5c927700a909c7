"""A fleet learns, end to end: from files on devices to a model that others can use."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from aggregator.ledger.views import read_rounds
from fedge.wire.messages.manifest import Cohort
from fedge.wire.selection import chosen
from tests import milestones
from tests.system.audit import check_books, check_stores
from tests.system.databases import query
from tests.system.federations import CLASSES, CLASSIFIER, as_csv, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.wiretap import Wiretap
from tests.wording import lines_telling

pytestmark = pytest.mark.system


def run_onnx(file: Path, X: NDArray[Any]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {session.get_inputs()[0].name: X.astype(np.float32)})
    return np.asarray(answers)


def was_chosen(fleet: FleetOfProcesses, device: str) -> bool:
    return any(
        chosen(Cohort.model_validate(cohort), 1, number, attempt, device)
        for number, cohorts in query(fleet.ledger, "SELECT round, cohorts FROM rounds")
        for attempt, cohort in enumerate(json.loads(cohorts))
    )


def test_a_fleet_learns_and_every_device_holds_the_model(fleet: FleetOfProcesses, tmp_path: Path) -> None:
    rounds = 6
    fleet.configure(
        federation={"seed": 1},
        model=CLASSIFIER,
        plan={"epochs": 4, "batch_size": 8, "learning_rate": 0.05},
        rounds={"fraction": 0.5, "quorum": 3, "deadline_s": 300.0},
        stopping={"rounds": rounds},
    )
    # At this seed the first three are in the first cohort drawn for every round, also for the one that
    # measures, and the bystander is in none. A round takes all three, so it is all one who connects first.
    learners, bystander, latecomer = ("pi-114", "pi-352", "pi-529"), "pi-629", "latecomer"
    for number, name in enumerate((*learners, bystander, latecomer)):
        fleet.device(name, *motions(number))
    fleet.start_devices(*learners)
    fleet.start_aggregator("--exit-when-done")
    fleet.until(lambda: fleet.rounds() != [], "the first cohort is drawn")  # of those who are online
    fleet.start_devices(bystander)
    assert fleet.ends() == 0

    assert [(row.round, row.closed) for row in fleet.rounds()] == [(n, True) for n in range(rounds + 1)]
    assert all(row.devices == 3 for row in fleet.rounds())
    assert check_books(fleet) == rounds
    assert not was_chosen(fleet, bystander), "choose another name"
    final = fleet.final_model()
    fleet.start_devices(latecomer)  # the aggregator is gone: the broker alone tells it all
    fleet.until(
        lambda: all(device.held_model() == final for device in fleet.devices.values()),
        "all five hold the final model, the bystander and the latecomer too",
    )
    with Wiretap(fleet) as tap:
        fleet.until(
            lambda: all((s := tap.status(name)) is not None and s.holds == final for name in fleet.devices),
            "and say so",
        )

    X, y = motions(99, n=300, leaning=1 / 3)
    file = tmp_path / "new.csv"
    file.write_text(as_csv(X, y))
    told = fleet.predict(fleet.devices[latecomer], file)
    assert (told["generation"], told["round"]) == (1, rounds)
    computed = run_onnx(fleet.export / "model.onnx", X)
    printed = [[row["probabilities"][name] for name in CLASSES] for row in told["predictions"]]
    np.testing.assert_allclose(computed, printed, rtol=0, atol=1e-5)
    assert [row["class"] for row in told["predictions"]] == [CLASSES[i] for i in computed.argmax(axis=1)]
    assert np.mean([row["class"] for row in told["predictions"]] == y) > 0.9, "the classes hardly overlap"
    manifest = json.loads((fleet.export / "manifest.json").read_text())
    assert (manifest["round"], manifest["model"]) == (rounds, final.hex())
    # The loss falls to the end, so that the last model is the best: a round of its own has measured it.
    assert [row.kind for row in read_rounds(fleet.ledger)][-2:] == ["train", "evaluate"]
    assert manifest["choice"]["newest"] == {"round": rounds, "measured": True}
    assert manifest["measured"]["held_loss"] == manifest["choice"]["best"]["value"]
    loss = f"{manifest['measured']['held_loss']:.4f}"
    assert lines_telling(fleet.log(), milestones.LEARNING_DONE, f"{rounds} rounds", f"1.{rounds}: ", loss)


def test_a_regression_gives_targets_in_their_own_units(fleet: FleetOfProcesses, tmp_path: Path) -> None:
    def truth(X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Watts and degrees: units that differ by four orders of magnitude."""
        return np.column_stack((90_000 + 400 * X[:, 0] - 150 * X[:, 1], 20 + 0.01 * X[:, 1] * X[:, 2]))

    def samples(number: int, n: int) -> NDArray[np.float64]:
        rng = np.random.default_rng(number)
        return rng.normal(size=(n, 3)) * [30, 20, 0.5] + [number % 2 * 40, 0, 3]

    fleet.configure(
        model={
            "features": ["load", "wind", "shade"],
            "targets": ["power", "temperature"],
            "layers": [{"type": "dense", "units": 16}, {"type": "tanh"}],
        },
        plan={"epochs": 10, "batch_size": 16, "learning_rate": 0.05, "momentum": 0.9},
        rounds={"quorum": 2, "target": 2, "deadline_s": 300.0},
        stopping={"rounds": 12},
    )
    names = ("load", "wind", "shade", "power", "temperature")
    for number in range(2):
        X = samples(number, 200)
        rows = np.column_stack((X, truth(X))).tolist()
        text = "\n".join([",".join(names), *(",".join(map(str, row)) for row in rows)]) + "\n"
        fleet.csv_device(f"device-{number}", text)
    fleet.start_aggregator("--exit-when-done")
    fleet.start_devices()
    assert fleet.ends() == 0

    X = samples(2, 400)
    computed, wanted = run_onnx(fleet.export / "model.onnx", X), truth(X)
    # Within a tenth of each target's spread, root mean square: it explains 99 % of the variance.
    error = np.sqrt(np.mean((computed - wanted) ** 2, axis=0)) / wanted.std(axis=0)
    assert (error < 0.1).all(), error
    first, last = fleet.rounds()[1], fleet.rounds()[-1]
    assert last.accuracy is None, "a regression has none"
    assert last.held_loss is not None
    assert first.held_loss is not None
    assert last.held_loss < first.held_loss / 10
    assert last.rmse is not None
    assert last.rmse_mean is not None
    # The mean of watts and degrees is half the watts: a spread of some 12,600 by the truth above.
    assert 3_000 < last.rmse_mean < 12_000
    assert last.rmse < last.rmse_mean / 3
    assert lines_telling(fleet.log(), "round 1.12: ", f"{last.rmse:.4g}", f"{last.rmse_mean:.4g}")
    check_stores(fleet)


def test_data_grows_and_both_programs_end_when_asked(fleet: FleetOfProcesses) -> None:
    fleet.configure(
        model=CLASSIFIER,
        plan={"epochs": 1},
        rounds={"quorum": 2, "deadline_s": 300.0},
        stopping={"rounds": 1_000_000},
    )
    X, y = motions(0, n=101)
    growing = fleet.csv_device("growing", as_csv(X[:60], y[:60]))
    steady = fleet.csv_device("steady", as_csv(*motions(1, n=50)))
    fleet.start_aggregator()
    fleet.start_devices()

    def samples(device: str) -> int:
        """n_k in the newest closed round."""
        newest = "SELECT max(round) FROM rounds WHERE closed_at IS NOT NULL"
        found = query(
            fleet.ledger, f"SELECT samples FROM answers WHERE device = ? AND round = ({newest})", device
        )
        return int(found[0][0]) if found else 0

    # A fifth, rounded down, is held out: n_k is 60 - 12, then 100 - 20, then 101 - 20.
    fleet.until(lambda: samples("growing") == 48, "60 rows count")
    file = growing.folder / "data.csv"
    more = as_csv(X[60:], y[60:], header=False)
    begun, ending = more[:-3], more[-3:]
    with file.open("a") as appended:
        appended.write(begun)
    fleet.until(lambda: samples("growing") == 80, "40 more rows count")
    before = fleet.rounds()[-1].round
    fleet.until(lambda: fleet.rounds()[-1].round >= before + 3, "rounds go by")
    assert samples("growing") == 80, "the line that is still being written waits"
    with file.open("a") as appended:
        appended.write(ending)
    fleet.until(lambda: samples("growing") == 81, "the finished line counts")
    assert samples("steady") == 40
    check_books(fleet)

    with Wiretap(fleet) as tap:
        assert fleet.terminate("growing") == 0
        fleet.until(lambda: (s := tap.status("growing")) is not None and not s.online, "it says goodbye")
        status = tap.status("growing")
        assert status is not None
        assert status.samples == 81
        assert fleet.terminate("aggregator") == 0
        fleet.until(lambda: (s := tap.service()) is not None and not s.online, "the service is offline")
    with Wiretap(fleet) as later:
        fleet.until(lambda: later.service() is not None, "what is retained arrives")
        service = later.service()
        assert service is not None
        assert not service.online, "the goodbye is retained"
    assert fleet.log().rstrip().endswith(milestones.STOPPED)
    assert all("Traceback" not in fleet.log(name) for name in ("aggregator", "growing", "steady"))
    assert read_rounds(fleet.ledger), "the ledger is whole"
    assert steady.saved() is not None
