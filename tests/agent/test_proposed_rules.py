"""Rules for data that the task proposes: they hold where the owner has said nothing, and only there."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from agent.cli.predict import predict
from agent.config import AgentSettings
from agent.core.events import Done, Failed
from agent.data.rules import DEFAULTS, Rules, effective
from agent.settings.data import Holdout
from agent.shell import model_file
from agent.sources import open_sources
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from fedge.algorithms.codecs import float32
from fedge.algorithms.plan import Plan
from fedge.data.rules import Holdout as ProposedHoldout
from fedge.data.rules import Proposal
from fedge.export.onnx_file import to_onnx
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from tests.aggregator.engines import MEAN, ORIGIN, SCALE, onnxruntime, task, weights
from tests.aggregator.test_export_gaps import GAPS

ALL = Proposal(missing="fill", gap=3, holdout=ProposedHoldout(part=0.5, by="every"), unknown_labels="drop")
"""Everything that can be proposed."""


def settings(folder: Path, data: str = "") -> AgentSettings:
    (folder / "agent.toml").write_text(
        'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "csv"\npath = "data.csv"\n' + data
    )
    return AgentSettings.load(folder / "agent.toml", {})


def proposing(rules: Proposal | None) -> Task:
    return task(None, 20.0).model_copy(update={"rules": rules})


# ── which rules are in force ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", Rules("fill", Holdout(part=0.5, by="every"), 3, "drop")),
        ('missing = "drop"', Rules("drop", Holdout(part=0.5, by="every"), 3, "drop")),
        ("holdout = 0.1", Rules("fill", Holdout(part=0.1), 3, "drop")),
        ("gap = 0", Rules("fill", Holdout(part=0.5, by="every"), 0, "drop")),
        ('unknown_labels = "refuse"', Rules("fill", Holdout(part=0.5, by="every"), 3, "refuse")),
        ("accept_rules = false", DEFAULTS),
        ("accept_rules = false\ngap = 7", Rules(gap=7)),
    ],
)
def test_what_the_owner_has_set_wins(tmp_path: Path, said: str, expected: Rules) -> None:
    assert effective(settings(tmp_path, said).data, proposing(ALL)) == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (None, DEFAULTS),
        (Proposal(), DEFAULTS),
        (Proposal(missing="drop"), Rules("drop")),
        (Proposal(holdout=ProposedHoldout(by="series")), Rules(holdout=Holdout(by="series"))),
        (Proposal(holdout=ProposedHoldout(part=0.0)), Rules(holdout=Holdout(part=0.0))),
        (Proposal(gap=0, unknown_labels="drop"), Rules(unknown_labels="drop")),
        (Proposal(missing="interpolate", gap=9), Rules(gap=9)),
        (Proposal(holdout=ProposedHoldout(part=0.4, by="weekday")), Rules(holdout=Holdout(part=0.4))),
        (Proposal(unknown_labels="learn"), DEFAULTS),
    ],
)
def test_what_is_not_proposed_or_not_known_has_its_default(
    tmp_path: Path, rules: Proposal | None, expected: Rules
) -> None:
    assert effective(settings(tmp_path).data, proposing(rules)) == expected
    assert effective(settings(tmp_path).data, None) == DEFAULTS


# ── at work ────────────────────────────────────────────────────────────────────────────────────────


def write_csv(path: Path, X: np.ndarray, labels: str | None = None) -> None:
    lines = ["heat,wind,co2,pressure" + (",label" if labels else "")]
    for k, row in enumerate(X):
        cells = ["" if np.isnan(value) else repr(float(value)) for value in row]
        lines.append(",".join(cells + ([labels[k % len(labels) : k % len(labels) + 1]] if labels else [])))
    path.write_text("\n".join([*lines, ""]))


def job(of: Task) -> Assignment:
    blob = Blob(digest=bytes(32), slot=0, frames=1, size=100)
    manifest = Manifest(
        generation=1,
        round=1,
        kind="train",
        state="open",
        seed=1,
        task=blob,
        model=blob,
        plan=Plan(),
        cohort=Cohort(fraction=1.0, seed=1),
        seconds_left=60.0,
    )
    return Assignment(manifest, of, weights(of), {})


def work(folder: Path, of: Task, said: str = "") -> Done | Failed | None:
    """A device with 60 rows, of which every third lacks a value, trains."""
    X = MEAN + SCALE * np.random.default_rng(0).standard_normal((60, 4))
    X[::3, 1] = np.nan
    write_csv(folder / "data.csv", X, "01")
    configured = settings(folder, said)
    return Worker(configured, open_sources(configured), lambda _: None).work(job(of))


@pytest.mark.parametrize(
    ("rules", "said", "samples"),
    [
        (Proposal(missing="fill"), "", 48),
        (Proposal(missing="drop"), "", 32),
        (Proposal(missing="fill", holdout=ProposedHoldout(part=0.5), gap=4), "", 26),
        (Proposal(missing="fill"), 'missing = "drop"', 32),
        (Proposal(missing="refuse"), 'missing = "fill"', 48),
    ],
)
def test_a_device_whose_owner_has_set_nothing_takes_part_as_the_task_proposes(
    tmp_path: Path, rules: Proposal, said: str, samples: int
) -> None:
    of = proposing(rules).model_copy(update={"classes": ("0", "1")})
    done = work(tmp_path, of, said)
    assert isinstance(done, Done)
    assert unpack(done.payload, Update).samples == samples


@pytest.mark.parametrize(
    ("rules", "said"),
    [(None, ""), (Proposal(missing="fill"), "accept_rules = false"), (Proposal(missing="refuse"), "")],
)
def test_without_a_rule_gaps_are_refused(tmp_path: Path, rules: Proposal | None, said: str) -> None:
    failed = work(tmp_path, proposing(rules).model_copy(update={"classes": ("0", "1")}), said)
    assert isinstance(failed, Failed)
    assert failed.reason == Reason.BAD_DATA
    assert "is missing" in failed.told


# ── predicting ─────────────────────────────────────────────────────────────────────────────────────


def predicted(folder: Path, of: Task, w: np.ndarray, said: str = "") -> dict[int, list[float]]:
    """What `fedge-agent predict` says of rows with gaps: probabilities by row."""
    configured = settings(folder, said)
    configured.state.folder.mkdir(exist_ok=True)
    model = Model(generation=1, round=3, body=float32.encode(w))
    model_file.save(configured.state.folder / model_file.FILE, pack(of), pack(model))
    write_csv(folder / "new.csv", GAPS)
    out = io.StringIO()
    predict(configured, folder / "new.csv", out, True)
    return {
        row["row"]: list(row["probabilities"].values()) for row in json.loads(out.getvalue())["predictions"]
    }


def test_predict_and_the_exported_file_say_the_same_of_every_row(tmp_path: Path) -> None:
    """Under `fill` each row with a gap has an answer, and the same one; else it has none in either."""

    of = task("fill", 20.0)
    w = weights(of)
    theirs = onnxruntime(to_onnx(of, w, ORIGIN))(GAPS)
    ours = predicted(tmp_path, of, w)
    assert list(ours) == list(range(len(GAPS)))
    np.testing.assert_allclose(np.array(list(ours.values())), theirs, rtol=0, atol=1e-6)
    dropped = predicted(tmp_path, task("drop", 20.0), w)
    assert list(dropped) == list(np.flatnonzero(~np.isnan(GAPS).any(axis=1)))
    no_answers = onnxruntime(to_onnx(task("drop", 20.0), w, ORIGIN))(GAPS)
    assert list(np.flatnonzero(~np.isnan(no_answers).any(axis=1))) == list(dropped)
