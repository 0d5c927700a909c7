"""Columns too fine for float32, such as 1.7e9 ± 100 s: from files to survey, rounds, export and answers.

Three devices with CSV files learn through the agents' trainers and the aggregator's own functions. One column
says everything, the other one nothing.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
import pytest

from agent.cli.predict import predict
from agent.config import AgentSettings
from agent.core.events import Done
from agent.data.assessment import assess
from agent.data.model_scores import score
from agent.shell import model_file
from agent.sources import open_source, open_sources
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from aggregator.aggregation import survey as surveys
from aggregator.aggregation.models import first_weights
from aggregator.aggregation.survey import Measured, standardize
from aggregator.export.manifest import MANIFEST, ONNX
from aggregator.export.model_files import write
from fedge.algorithms.codecs import float32
from fedge.algorithms.contribution import Contribution, order
from fedge.algorithms.plan import Plan
from fedge.algorithms.rules.mean import finish, partial
from fedge.data.moments import Moments
from fedge.data.scores import Classification
from fedge.export.metadata import Origin
from fedge.nn.spec import Dense, NetworkSpec, ReLU, Standardize, takes_float64
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.models import model_message
from fleet.evaluation import evaluate
from tests.wording import assert_tells

EPOCH = 1.7e9 + 10
ROWS = 400
DEVICES = sorted("abc", key=order)
TASK = Task(
    network=NetworkSpec(inputs=2, layers=(Dense(units=8), ReLU(), Dense(units=2)), loss="cross-entropy"),
    features=("noise", "seen"),
    classes=("early", "late"),
)
PLAN = Plan(epochs=5, batch_size=16, learning_rate=0.1)
ROUNDS = 6
BLOB = Blob(digest=bytes(32), slot=0, frames=1, size=100)


def rows(device: str, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Features of shape (n, 2), and whether a row is late."""
    rng = np.random.default_rng(sum(device.encode()))
    since = rng.normal(0, spread, ROWS).round(6)
    X = np.stack([rng.normal(20, 3, ROWS).round(3), (EPOCH + since).round(6)], axis=1)
    return X, since > 0.3 * spread


def written(path: Path, device: str, spread: float) -> Path:
    """A device's rows with their true answers."""
    X, late = rows(device, spread)
    pairs = zip(X.tolist(), late, strict=True)
    lines = [f"{noise!r},{seen!r},{TASK.classes[int(each)]}" for (noise, seen), each in pairs]  # type: ignore[index]
    path.write_text("\n".join(["noise,seen,label", *lines, ""]), encoding="utf-8")
    return path


def settings(folder: Path, device: str, spread: float) -> AgentSettings:
    folder.mkdir(parents=True, exist_ok=True)
    written(folder / "data.csv", device, spread)
    (folder / "agent.toml").write_text(
        f'federation = "lab"\ndevice = "{device}"\n[data]\nsource = "csv"\npath = "data.csv"\n'
    )
    return AgentSettings.load(folder / "agent.toml", {})


def manifest(kind: Literal["survey", "train"], number: int) -> Manifest:
    return Manifest(
        generation=1,
        round=number,
        kind=kind,
        state="open",
        seed=3,
        task=BLOB.model_copy(update={"digest": kind.encode().ljust(32)}),
        model=None if kind == "survey" else BLOB,
        plan=None if kind == "survey" else PLAN,
        cohort=Cohort(fraction=1.0, seed=1),
        seconds_left=60.0,
    )


class Fleet:
    """The workers of three devices, and what they have told and learnt."""

    def __init__(self, folder: Path, spread: float) -> None:
        self.settings = {device: settings(folder / device, device, spread) for device in DEVICES}
        self.trainers: dict[str, Worker] = {}
        self.surveys: dict[str, Measured] = {}
        for device, each in self.settings.items():
            trainer = self.trainers[device] = Worker(each, open_sources(each), lambda _: None)
            done = trainer.work(Assignment(manifest("survey", 0), TASK, None, {}))
            assert isinstance(done, Done)
            found = surveys.check(unpack(done.payload, Survey), TASK, 10_000)
            assert isinstance(found, Measured)
            self.surveys[device] = found

    def surveyed(self, rule: str = surveys.EXACT) -> Task:
        task = standardize(TASK, self.surveys, rule, 20.0)
        assert isinstance(task, Task)
        return task

    def learn(self, rule: str = surveys.EXACT) -> None:
        self.task = self.surveyed(rule)
        self.w = first_weights(self.task, 3, 1)
        for number in range(1, ROUNDS + 1):
            updates = []
            for device, trainer in self.trainers.items():
                done = trainer.work(Assignment(manifest("train", number), self.task, self.w, {}))
                assert isinstance(done, Done)
                update = unpack(done.payload, Update)
                body = float32.decode(update.body, len(self.w))
                updates.append(Contribution(device, update.samples, body))
            self.w, _ = finish(partial(updates))

    def export(self, folder: Path) -> Mapping[str, Any]:
        folder.mkdir()
        exported = write(folder, self.task, self.w, Origin("lab", 1, ROUNDS, "ab" * 32))
        assert exported.withheld == ""
        found: Mapping[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return found

    def hold(self, device: str) -> None:
        model = model_message(RoundId(1, ROUNDS), self.w)
        state = self.settings[device].state.folder
        state.mkdir(parents=True, exist_ok=True)
        model_file.save(state / model_file.FILE, pack(self.task), model)


def central(spread: float) -> float:
    """Accuracy on other rows of a threshold that is found in float64, with all data in one place."""
    fleet = [rows(device, spread) for device in DEVICES]
    seen, late = np.concatenate([X[:, 1] for X, _ in fleet]), np.concatenate([late for _, late in fleet])
    best = max(seen, key=lambda cut: ((seen > cut) == late).mean())
    other, truth = rows("other", spread)
    return float(((other[:, 1] > best) == truth).mean())


def accuracy(folder: Path, spread: float) -> float:
    """Of the exported file, on other rows."""
    scores = evaluate(folder / "export" / ONNX, written(folder / "other.csv", "other", spread)).scores
    assert isinstance(scores, Classification)
    return scores.accuracy


@pytest.mark.parametrize("spread", [100.0, 15.0, 0.5])
def test_it_is_learnt_nearly_as_well_as_in_float64_in_one_place(tmp_path: Path, spread: float) -> None:
    fleet = Fleet(tmp_path, spread)
    fleet.learn()
    assert fleet.export(tmp_path / "export")["input"] == "float64"
    assert central(spread) >= 0.98
    assert accuracy(tmp_path, spread) >= central(spread) - 0.03


def test_in_float32_nothing_is_learnt_of_it(tmp_path: Path) -> None:
    """What 0.2.0 does: 15 s are an eighth of the 128 s between neighbours in float32."""
    fleet = Fleet(tmp_path, 15.0)
    fleet.learn(surveys.CLIPPED)
    assert fleet.export(tmp_path / "export")["input"] == "float32"
    _, late = rows("other", 15.0)
    assert accuracy(tmp_path, 15.0) <= max(late.mean(), 1 - late.mean()) + 0.05


@pytest.mark.parametrize("spread", [100.0, 0.5])
def test_the_survey_tells_mean_and_deviation_of_float64(tmp_path: Path, spread: float) -> None:
    fleet = Fleet(tmp_path, spread)
    for device, told in fleet.surveys.items():
        seen = rows(device, spread)[0][: ROWS * 4 // 5, 1]  # a fifth is held out
        assert told.features.count[1] == len(seen)
        assert told.features.mean[1] == pytest.approx(seen.mean(), rel=0, abs=0.06 * spread)
        assert np.sqrt(told.features.m2[1] / len(seen)) == pytest.approx(seen.std(), rel=0.05)
    first = fleet.surveyed().network.layers[0]
    assert isinstance(first, Standardize)
    assert first.exact_means[1] == pytest.approx(EPOCH, rel=0, abs=0.2 * spread)
    assert first.scales[1] == pytest.approx(spread, rel=0.2)


def test_predict_and_evaluate_and_the_file_say_the_same_of_every_row(tmp_path: Path) -> None:
    spread = 0.5
    fleet = Fleet(tmp_path, spread)
    fleet.learn()
    fleet.export(tmp_path / "export")
    fleet.hold("a")
    file, out = written(tmp_path / "other.csv", "other", spread), io.StringIO()
    predict(fleet.settings["a"], file, out, as_json=True)
    answers = [one["probabilities"] for one in json.loads(out.getvalue())["predictions"]]
    ours = np.array([[answer[name] for name in TASK.outputs] for answer in answers])
    session = ort.InferenceSession((tmp_path / "export" / ONNX).read_bytes())
    assert session.get_inputs()[0].type == "tensor(double)"
    (theirs,) = session.run(None, {"features": rows("other", spread)[0]})
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    assert ours.min() < 0.05, "not all alike"
    scored = io.StringIO()
    score(fleet.settings["a"], file, scored, as_json=True)
    assert json.loads(scored.getvalue())["accuracy"] == accuracy(tmp_path, spread)


def warnings_of(each: AgentSettings, task: Task | None) -> list[tuple[str, str]]:
    """Kind and text of each warning about how fine a column is."""
    found = assess(open_source(each.data).read(), each.data, task)
    return [(one.kind, str(one)) for one in found.warnings if one.kind in ("float32", "far")]


def test_check_names_it_only_where_the_task_takes_float32(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, 100.0)
    each, exact = fleet.settings["a"], fleet.surveyed()
    assert warnings_of(each, None) == warnings_of(each, TASK) == warnings_of(each, exact) == []
    ((kind, named),) = warnings_of(each, fleet.surveyed(surveys.CLIPPED))
    assert kind == "float32"
    assert_tells(named, "'seen'", str(ROWS), "new generation", "float64")


def test_a_target_is_still_named(tmp_path: Path) -> None:
    network = NetworkSpec(inputs=1, layers=(Dense(units=1),), loss="mse")
    of = Task(network=network, features=("noise",), targets=("seen",))
    ((kind, named),) = warnings_of(settings(tmp_path, "a", 100.0), of)
    assert kind == "float32"
    assert_tells(named, "'seen'", str(ROWS))
    assert "new generation" not in named


def test_a_device_that_hardly_varies_in_a_fleet_that_does_is_named(tmp_path: Path) -> None:
    """The fleet's column does for float32; here 100 s are less than one step of it."""
    moments = Moments(np.full(2, 400.0), np.array([20.0, EPOCH]), np.array([3_600.0, 400 * 1e12]))
    others = dict.fromkeys("bc", Measured(moments, None))
    task = standardize(TASK, others, surveys.EXACT, 20.0)
    assert isinstance(task, Task)
    assert not takes_float64(task.network)
    ((kind, named),) = warnings_of(settings(tmp_path, "a", 100.0), task)
    assert kind == "float32"
    assert_tells(named, "'seen'", str(ROWS))
