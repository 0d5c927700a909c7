"""Inputs far outside of what the fleet has measured are counted, and named by column and line."""

import logging
from pathlib import Path

import numpy as np
import pytest

from agent.config import AgentSettings
from agent.core.events import Done, Failed
from agent.data.assessment import assess
from agent.data.extremes import BLOCK_ROWS, extremes
from agent.sources import open_source, open_sources
from agent.sources.samples import Samples
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from fedge.algorithms.plan import Plan
from fedge.nn.spec import Dense, NetworkSpec, Standardize
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import unpack
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from tests.wording import assert_tells

BLOB = Blob(digest=bytes(32), slot=0, frames=1, size=100)
ROWS = 40


def task(clip: float | None, width: int = 2) -> Task:
    first = Standardize(
        mean=np.zeros(width, "<f4").tobytes(), scale=np.ones(width, "<f4").tobytes(), clip=clip
    )
    network = NetworkSpec(inputs=width, layers=(first, Dense(units=4), Dense(units=2)), loss="cross-entropy")
    return Task(
        network=network, features=("heat", "damp", "c", "d", "e", "f", "g")[:width], classes=("a", "b")
    )


def job(clip: float | None, rate: float = 0.05, digest: bytes = bytes(32)) -> Assignment:
    of = task(clip)
    manifest = Manifest(
        generation=1,
        round=1,
        kind="train",
        state="open",
        seed=1,
        task=BLOB.model_copy(update={"digest": digest}),
        model=BLOB,
        plan=Plan(epochs=5, batch_size=1, learning_rate=rate),
        cohort=Cohort(fraction=1.0, seed=1),
        seconds_left=60.0,
    )
    return Assignment(manifest, of, np.full(of.network.schema.size, 0.1, np.float32), {})


def write(folder: Path, cells: dict[tuple[int, str], float]) -> None:
    """A CSV of 40 rows, of which the last 8 are held out; row 0 is in line 2."""
    X = np.random.default_rng(0).normal(size=(ROWS, 2))
    for (row, column), value in cells.items():
        X[row, ("heat", "damp").index(column)] = value
    lines = [f"{heat:.3f},{damp:.3f},{'ab'[k % 2]}" for k, (heat, damp) in enumerate(X)]
    (folder / "data.csv").write_text("\n".join(["heat,damp,label", *lines, ""]))


def trainer(folder: Path, cells: dict[tuple[int, str], float]) -> Worker:
    write(folder, cells)
    (folder / "agent.toml").write_text(
        'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "csv"\npath = "data.csv"\n'
    )
    settings = AgentSettings.load(folder / "agent.toml", {})
    return Worker(settings, open_sources(settings), lambda _: None)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of inputs far away."""
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    return [line for line in lines if "standard deviations" in line]


BAD = {(5, "damp"): -9999.0, (7, "damp"): 65.0, (7, "heat"): 30.0, (39, "heat"): 1e6}
"""The last one is held out."""


def test_rows_of_the_training_part_are_counted_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = trainer(tmp_path, BAD)
    for digest in (b"1" * 32, b"1" * 32, b"2" * 32):
        done = worker.work(job(20.0, digest=digest))
        assert isinstance(done, Done)
        assert unpack(done.payload, Update).metrics["clipped"] == 2, "rows, not cells"
    damp, heat = told(caplog)
    assert_tells(
        damp, "source data: column 'damp' ", "9,999 ", f"{tmp_path}/data.csv: line 7", "2 rows", "20"
    )
    assert_tells(heat, "source data: column 'heat' ", "30 ", f"{tmp_path}/data.csv: line 9", "1 row", "20")
    write(tmp_path, {})
    worker.work(job(20.0))
    write(tmp_path, {(1, "heat"): 40.0})
    worker.work(job(20.0))
    assert_tells(told(caplog)[-1], "column 'heat' ", "40 ")  # it was gone, and is there again


def test_check_names_them_where_the_device_holds_the_task(tmp_path: Path) -> None:
    trainer(tmp_path, BAD)
    settings = AgentSettings.load(tmp_path / "agent.toml", {})
    samples = open_source(settings.data).read()
    damp, heat = (one for one in assess(samples, settings.data, task(20.0)).warnings if one.kind == "far")
    assert (damp.column, damp.count, heat.column, heat.count) == ("damp", 2, "heat", 1)
    assert_tells(damp.what, "9,999 ")
    assert_tells(heat.what, "30 ")
    assert [one for one in assess(samples, settings.data, None).warnings if one.kind == "far"] == []


def test_ordinary_data_count_as_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    done = trainer(tmp_path, {}).work(job(20.0))
    assert isinstance(done, Done)
    assert unpack(done.payload, Update).metrics["clipped"] == 0
    assert told(caplog) == []


def test_where_nothing_is_clipped_they_are_named_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = trainer(tmp_path, BAD).work(job(None))
    assert isinstance(done, Done)
    assert "clipped" not in unpack(done.payload, Update).metrics, "nothing was"
    assert_tells(told(caplog)[0], "2 rows", "20")


@pytest.mark.parametrize(("clip", "rate"), [(None, 0.05), (20.0, 1e3)])
def test_training_that_diverges_blames_them_before_the_learning_rate(
    tmp_path: Path, clip: float | None, rate: float
) -> None:
    """What others are told names the task's column and counts; line and distance, which is a value, stay."""
    bad = {(5, "damp"): 1e37}
    failed = trainer(tmp_path, bad).work(job(clip, rate))
    assert isinstance(failed, Failed)
    assert failed.reason == Reason.TRAINING_DIVERGED
    assert_tells(failed.told, "1 of the rows", "20 ", "column 'damp'", "learning rate")
    assert f"({tmp_path}/data.csv: line 7 is " in failed.detail
    assert "line" not in failed.told
    assert "data.csv" not in failed.told
    assert f"{1e37:,.0f}"[:6] not in failed.told


def test_training_that_diverges_without_them_is_the_learning_rates_fault(tmp_path: Path) -> None:
    failed = trainer(tmp_path, {}).work(job(20.0, rate=1e3))
    assert isinstance(failed, Failed)
    assert_tells(failed.told, "learning rate 1000")


def samples_of(X: np.ndarray) -> Samples:
    series = np.zeros(len(X), np.int64)
    return Samples("data", X, None, None, "y", series, (("data", len(X)),))


def test_missing_values_are_not_far_away_and_the_farthest_column_comes_first() -> None:
    X = np.full((2 * BLOCK_ROWS + 5, 7), np.nan, np.float32)
    X[BLOCK_ROWS + 3] = [21, 22, 23, 24, 25, 26, 27]
    X[-1, 0] = -400
    found = extremes(samples_of(X), X, np.arange(len(X)), task(20.0, 7))
    assert found is not None
    assert (found.rows, len(found.columns)) == (2, 7)
    first, second = found.columns[:2]
    assert (first.name, first.rows, first.place, first.distance) == (
        "heat",
        2,
        f"data: row {len(X) - 1}",
        400.0,
    )
    assert (second.name, second.place) == ("g", f"data: row {BLOCK_ROWS + 3}")
    assert extremes(samples_of(X[:9]), X[:9], None, task(20.0, 7)) is None


def test_before_the_survey_is_closed_nobody_knows_what_is_far() -> None:
    network = NetworkSpec(inputs=1, layers=(Dense(units=2),), loss="cross-entropy")
    X = np.float32([[1e30]])
    assert (
        extremes(samples_of(X), X, None, Task(network=network, features=("x",), classes=("a", "b"))) is None
    )
