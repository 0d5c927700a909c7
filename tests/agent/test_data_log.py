"""The agent's log says once what is used of the data, and names what is odd once until it is gone."""

import logging
from pathlib import Path

import numpy as np
import pytest

from agent.config import AgentSettings
from agent.core.events import Done
from agent.sources import open_sources
from agent.trainers.worker import Worker
from fedge.algorithms.plan import Plan
from fedge.wire.messages.message import unpack
from fedge.wire.messages.update import Update
from tests.agent.test_trainer_limits import job, task
from tests.wording import assert_tells

LOG = "fedge.agent"
SETTINGS = 'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "npz"\npath = "data.npz"\n'


def trainer(folder: Path, tables: str = "") -> Worker:
    (folder / "agent.toml").write_text(SETTINGS + tables)
    settings = AgentSettings.load(folder / "agent.toml", {})
    return Worker(settings, open_sources(settings), lambda _: None)


def measure(folder: Path, labels: list[int], **codes: float) -> None:
    X = np.random.default_rng(len(labels)).normal(20, 1, (len(labels), 2))
    for column, code in codes.items():
        X[3:6, "uv".index(column)] = code
    np.savez(folder / "data.npz", X=X, y=labels)


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    caplog.clear()
    return [text for text in found if text.startswith("source ")]


def update(work: Worker) -> Update:
    done = work.work(job(task(), Plan(epochs=1, batch_size=10)))
    assert isinstance(done, Done)
    return unpack(done.payload, Update)


def test_what_is_used_is_said_at_the_first_reading(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOG)
    work = trainer(tmp_path)
    measure(tmp_path, [0, 1] * 30)
    update(work)
    said = [text for text in caplog.messages if text.startswith("source data")]
    assert said == [
        f"source data, files: {tmp_path}/data.npz (60 rows)",
        "source data, rows: 60: 48 for training, 12 held out (0.2 by time), 0 in gaps, 0 left out",
        "source data, series: 1",
        "source data, used: 0, 1",
        "source data, classes: 0 (24 + 6), 1 (24 + 6)",
    ]
    caplog.clear()
    measure(tmp_path, [0, 1] * 40)
    update(work)
    assert not [text for text in caplog.messages if text.startswith("source data")], "it was said"


def test_an_impossible_number_is_named_once_until_it_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = trainer(tmp_path)
    measure(tmp_path, [0, 1] * 30, u=-9999)
    update(work)
    (said,) = warned(caplog)
    assert_tells(said, "source data: column '0' ", "-9999", "3", "[data] missing_values = [-9999]")
    measure(tmp_path, [0, 1] * 40, u=-9999)
    update(work)
    assert warned(caplog) == [], "the same in other data"
    measure(tmp_path, [0, 1] * 41, u=-9999, v=65535)
    update(work)
    (said,) = warned(caplog)
    assert_tells(said, "column '1' ", "65535")
    measure(tmp_path, [0, 1] * 42)
    update(work)
    measure(tmp_path, [0, 1] * 43, u=-9999)
    update(work)
    assert len(warned(caplog)) == 1, "it came back"


def test_what_the_owner_excludes_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOG)
    work = trainer(tmp_path, 'missing = "drop"\nmissing_values = [-9999]\n')
    measure(tmp_path, [0, 1] * 30, u=-9999)
    assert update(work).samples == 46, "57 are left, of which 11 are held out"
    said = f"source data, excluded: 3 values of '0' (-9999, first: {tmp_path}/data.npz: row 3)"
    assert said in caplog.messages
    assert warned(caplog) == []


@pytest.mark.parametrize(
    ("by", "unseen"), [("time", 12.0), ("every", 0.0), ("random", 0.0)], ids=["time", "every", "random"]
)
def test_held_out_rows_of_classes_that_are_not_trained_on_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, by: str, unseen: float
) -> None:
    work = trainer(tmp_path, f'holdout = {{ part = 0.2, by = "{by}" }}\n')
    measure(tmp_path, [0] * 48 + [1] * 12)
    metrics = update(work).metrics
    assert metrics["held_unseen"] == unseen
    assert 5 < metrics["held_out"] < 20
    told = [said for said in warned(caplog) if f"{unseen:g} of the {metrics['held_out']:g} " in said]
    assert len(told) == (unseen > 0)
