"""The owner's gate: a new model reaches `predict` only if it is not worse than the one in use."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agent.cli.predict import predict
from agent.core import events as on
from agent.settings.predict import PredictSettings
from agent.shell import model_file
from agent.sources import open_sources
from agent.trainers.comparison import Judgement
from agent.trainers.worker import Worker
from fedge.algorithms.codecs import float32
from fedge.errors import StateError
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.frames import split
from fedge.wire.messages.envelope import seal
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.status import Status
from fedge.wire.messages.task import Task
from tests.agent.besieged import FRAME_BYTES, LAB, TASK, blob, manifest
from tests.agent.besieged import Device as Besieged
from tests.wording import assert_tells

# ── the program ────────────────────────────────────────────────────────────────────────────────────

GOOD, BAD = 1.0, -1.0
"""The class is 1 where u > v: these models say so, or the opposite."""

OTHER_TASK = Task(
    network=NetworkSpec(inputs=1, layers=(Dense(units=2),), loss="cross-entropy"),
    features=("w",),
    classes=("0", "1"),
)


def a_model(round_: int, sign: float, task: Task = TASK) -> bytes:
    """The round alone makes another message of the same weights."""
    w = [-sign, sign, sign, -sign, 0, 0] if task is TASK else [0.0] * task.network.schema.size
    body = float32.encode(np.array(w, np.float32))
    return pack(Model(generation=1, round=round_, body=body))


class Device(Besieged):
    """The real runtime, memory, files and trainer, whose thread is this one and may be kept waiting."""

    def __init__(self, folder: Path, tolerance: float | None = 0.05, **data: Any) -> None:
        rng = np.random.default_rng(5)
        X = rng.normal(size=(100, 2))
        folder.mkdir(exist_ok=True)
        np.savez(folder / "data.npz", X=X, y=(X[:, 0] > X[:, 1]).astype(int), features=["u", "v"])
        self.waiting: list[Callable[[], None]] = []
        source = {"source": "npz", "path": str(folder / "data.npz"), **data}
        super().__init__(folder, None, data=source, predict={"tolerance": tolerance})

    def trainer(self) -> Any:
        real = Worker(self.settings, open_sources(self.settings), lambda event: self.runtime.turn(event))
        self.waiting.clear()
        return SimpleNamespace(
            judge=lambda judgement: self.waiting.append(lambda: real.judge_now(judgement)),
            start=lambda job: self.worked.append(job.manifest),
            cancel=lambda: None,
        )

    def set(self, tolerance: float | None) -> None:
        """Its owner changes the configuration, and starts it again."""
        self.settings = self.settings.model_copy(update={"predict": PredictSettings(tolerance=tolerance)})
        self.restart()
        self.runtime.turn(None)

    def judges(self) -> None:
        """The trainer does what it was given."""
        while self.waiting:
            self.waiting.pop(0)()
            self.settle()

    def keeps(self, round_: int, sign: float, task: Task = TASK) -> bytes:
        """It hears that learning has ended with this model, and keeps it."""
        packed = a_model(round_, sign, task)
        said = manifest(round_, model=blob(packed, round_ % 2), task=blob(pack(task), 0))
        of_task, of_model = split(pack(task), FRAME_BYTES), split(packed, FRAME_BYTES)
        self.hears({LAB.task(0, i): of_task[i] for i in range(len(of_task))})
        self.hears({LAB.model(round_ % 2, i): of_model[i] for i in range(len(of_model))})
        self.hears({LAB.round: seal(said)})
        self.runtime.turn(None)
        return packed

    def follows(self, round_: int, sign: float, task: Task = TASK) -> None:
        """And judges it."""
        packed = self.keeps(round_, sign, task)
        assert self.holds == packed
        self.judges()

    @property
    def used(self) -> int | None:
        """The round of the model in the file of the one in use."""
        found = model_file.read(self.folder / model_file.USED)
        return found.decoded_model.round if found is not None else None

    @property
    def predicts_rightly(self) -> bool:
        np.savez(self.folder / "new.npz", X=[[1.0, 0.0]], features=["u", "v"])
        out = io.StringIO()
        predict(self.settings, self.folder / "new.npz", out, as_json=True)
        return bool(json.loads(out.getvalue())["predictions"][0]["class"] == "1")


def test_a_worse_model_is_held_but_not_used_and_a_better_one_is(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follows(1, GOOD)
    assert device.predicts_rightly
    device.keeps(2, BAD)
    assert device.predicts_rightly  # before the verdict, too
    device.judges()
    assert device.predicts_rightly
    assert device.status.uses == model_file.require(device.folder / model_file.USED).model_digest
    assert device.status.holds == model_file.require(device.folder / model_file.FILE).model_digest
    assert device.status.uses != device.status.holds
    device.follows(3, GOOD)
    assert (device.used, device.predicts_rightly) == (3, True)
    assert device.status.uses is None


def test_without_its_gate_a_kept_model_that_it_held_back_is_used(tmp_path: Path) -> None:
    """It has the number 0 in its generation, as weights that nobody has trained have."""
    device = Device(tmp_path)
    device.follows(1, GOOD)
    body = float32.encode(np.array([-BAD, BAD, BAD, -BAD, 0, 0], np.float32))
    model_file.save(
        device.folder / model_file.FILE, pack(TASK), pack(Model(generation=2, round=0, body=body))
    )
    assert device.predicts_rightly
    device.settings = device.settings.model_copy(update={"predict": PredictSettings(tolerance=None)})
    assert not device.predicts_rightly


def test_without_a_tolerance_every_new_model_is_used(tmp_path: Path) -> None:
    device = Device(tmp_path, None)
    device.follows(1, GOOD)
    device.follows(2, BAD)
    assert not device.predicts_rightly
    assert not (tmp_path / model_file.USED).exists()
    assert device.status.uses is None


def test_a_restart_between_keeping_and_the_verdict_leaves_the_one_before_and_judges_again(
    tmp_path: Path,
) -> None:
    device = Device(tmp_path)
    device.follows(1, GOOD)
    device.keeps(2, BAD)
    device.restart()
    assert device.predicts_rightly
    device.runtime.turn(None)
    assert len(device.waiting) == 1
    device.judges()
    assert device.predicts_rightly
    device.keeps(3, GOOD)
    device.restart()
    device.runtime.turn(None)
    device.judges()
    assert device.used == 3


def test_a_crash_before_the_model_is_kept_or_used_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write of the two files is the last that this life gets to."""
    device = Device(tmp_path)
    device.follows(1, GOOD)
    (tmp_path / model_file.USED).unlink()  # as before the gate was set
    device.restart()
    saves: list[str] = []

    def dies(path: Path, data: bytes, **_: Any) -> None:
        saves.append(path.name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model_file, "atomic_write", dies)
        with pytest.raises(KeyboardInterrupt):
            device.keeps(2, BAD)
    assert saves == [model_file.USED]  # set apart first
    assert device.predicts_rightly
    device.restart()
    device.follows(3, BAD)
    assert (device.used, device.predicts_rightly) == (1, True)
    device.keeps(4, GOOD)
    with monkeypatch.context() as patch:
        patch.setattr(model_file, "atomic_write", dies)
        with pytest.raises(KeyboardInterrupt):
            device.judges()
    assert (device.used, device.predicts_rightly) == (1, True)
    device.restart()
    device.runtime.turn(None)
    device.judges()
    assert device.used == 4


def test_a_full_disk_leaves_the_one_before_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(tmp_path)
    device.follows(1, GOOD)
    device.keeps(2, GOOD)

    def full(path: Path, *_: Any, **__: Any) -> None:
        raise StateError(f"{path}: no space left")

    with monkeypatch.context() as patch:
        patch.setattr(model_file, "atomic_write", full)
        device.judges()
        device.runtime.turn(None)
    assert (device.used, device.waiting) == (1, [])
    offline_status = unpack(device.runtime.offline_status().payload, Status)
    assert offline_status.uses == model_file.require(tmp_path / model_file.USED).model_digest
    device.follows(3, GOOD)
    assert device.used == 3


def test_a_gate_that_is_set_later_begins_with_the_model_in_use_and_one_that_is_taken_away_ends(
    tmp_path: Path,
) -> None:
    device = Device(tmp_path, None)
    device.follows(1, GOOD)
    device.set(0.05)
    device.follows(2, BAD)
    assert (device.used, device.predicts_rightly) == (1, True)
    device.set(None)
    assert not device.predicts_rightly
    assert device.used is None
    device.set(0.05)
    assert not device.predicts_rightly  # the bad one is in use now, and any that is better takes its place
    device.follows(3, GOOD)
    assert device.predicts_rightly


def test_a_tolerance_of_all_lets_every_model_in(tmp_path: Path) -> None:
    device = Device(tmp_path, 1.0)
    device.follows(1, GOOD)
    device.follows(2, BAD)
    assert (device.used, device.predicts_rightly) == (2, False)


def test_what_cannot_be_measured_stays_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    device = Device(tmp_path, holdout=0)
    device.follows(1, GOOD)
    device.follows(2, GOOD)
    assert device.used == 1
    assert_tells(caplog.text, "cannot be measured", "[data] holdout")
    (tmp_path / "data.npz").unlink()
    device.follows(3, GOOD)
    assert device.used == 1
    assert_tells(caplog.text, f"{tmp_path / 'data.npz'}: ")


def test_a_model_in_use_that_fits_the_data_no_more_gives_way(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follows(1, 0.0, OTHER_TASK)
    device.follows(2, BAD)
    assert device.used == 2


def test_a_damaged_file_of_the_model_in_use_is_put_aside(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follows(1, GOOD)
    (tmp_path / model_file.USED).write_bytes(b"\0" * 100)
    device.restart()
    assert device.predicts_rightly  # with the newest
    assert (tmp_path / f"{model_file.USED}.quarantine-1").exists()
    device.follows(2, GOOD)
    assert device.used == 2


def test_an_error_that_nobody_foresaw_keeps_the_model_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(tmp_path)
    device.follows(1, GOOD)

    def breaks(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("agent.trainers.worker.judge", breaks)
        device.follows(2, GOOD)
    assert device.used == 1
    device.follows(3, GOOD)
    assert device.used == 3


def test_the_trainers_own_thread_judges(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.follows(1, GOOD)
    events: SimpleQueue[Any] = SimpleQueue()
    trainer = Worker(device.settings, open_sources(device.settings), events.put)
    weights = np.zeros(TASK.network.schema.size, np.float32)  # always class 0
    with np.load(tmp_path / "data.npz") as data:
        accuracy = (data["y"][-20:] == 0).mean()
    assert accuracy < 0.9
    used = device.folder / model_file.USED
    trainer.judge(Judgement(b"d" * 32, TASK, b"t" * 32, weights, used, tolerance=0.05))
    judged = events.get(timeout=60)
    assert isinstance(judged, on.Judged)
    assert (judged.digest, judged.accepted) == (b"d" * 32, False)
    assert_tells(judged.why, f"accuracy {accuracy:.3f}", "20 ", "1.000")
