"""Nothing of a device's data is published but names that the task asks for, numbers and reasons.

Every source is fed marks that stand nowhere else: in cells, headers, labels, names of files, folders, arrays
and series, in the words of exceptions and in the names of their classes. Then a round is declined as on a
device: by the trainer's thread and the core. No mark may be in what is published; the device's own log tells
the details.
"""

import ast
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from agent.__main__ import main
from agent.config import AgentSettings
from agent.core import effects as do
from agent.core import lifecycle
from agent.core.conditions import Readings
from agent.core.device import Working
from agent.core.events import Done, Failed
from agent.core.lifecycle import step
from agent.core.limits import Objection
from agent.data.dataset import fit
from agent.data.unfit import Unfit
from agent.settings.data import DataSettings
from agent.sources import open_source, open_sources
from agent.sources.samples import Samples
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from fedge.data.disclosure import Known, public, withheld
from fedge.errors import DataError
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.status import Status
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Reason
from tests.agent.canaries import CASES, CLASSES, FOLDER, MARKS, Case, lay_out
from tests.agent.lifecycle.stories import HOLDS, announced, working
from tests.agent.lifecycle.stories import manifest as announcement

PATIENCE_S = 120.0
ROOT = Path(__file__).parent.parent.parent


def survey(**learns: Any) -> Assignment:
    names = learns.get("classes") or learns["targets"]
    loss: Any = "cross-entropy" if "classes" in learns else "mse"
    network = NetworkSpec(inputs=2, layers=(Dense(units=len(names)),), loss=loss)
    manifest = Manifest(
        generation=1,
        round=1,
        kind="survey",
        state="open",
        seconds_left=60.0,
        seed=0,
        task=Blob(digest=bytes(32), slot=0, frames=1, size=1),
        cohort=Cohort(fraction=1.0, seed=0),
    )
    return Assignment(manifest, Task(network=network, features=("heat", "rain"), **learns), None, {})


def outcome(settings: AgentSettings, job: Assignment) -> Done | Failed:
    """What comes of the work, on the trainer's own thread."""
    found: SimpleQueue[Done | Failed] = SimpleQueue()
    Worker(settings, open_sources(settings), found.put).start(job)
    return found.get(timeout=PATIENCE_S)


def published(effects: list[do.Effect]) -> bytes:
    return b"".join(pack(effect.status) for effect in effects if isinstance(effect, do.PublishStatus))


def assert_no_mark(payload: bytes) -> None:
    assert not [mark for mark in MARKS if mark in payload.lower()], payload


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_is_declined_for_data_names_nothing_of_them(tmp_path: Path, case: Case) -> None:
    failed = outcome(lay_out(tmp_path, case), survey(**case.learns))
    assert isinstance(failed, Failed), failed
    assert failed.reason == case.reason, failed
    state, effects = step(working(), failed)
    payload = published(effects) + pack(lifecycle.status(state, online=False))
    assert_no_mark(payload)
    assert case.said in unpack(published(effects), Status).declined.detail  # type: ignore[union-attr]
    (said,) = (effect.text for effect in effects if isinstance(effect, do.Log))
    assert case.log in said, "the device's own log has the details"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_check_tells_the_owner(
    tmp_path: Path, case: Case, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = lay_out(tmp_path, case)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr("fedge.service.collision.collisions", list)  # which takes long
    monkeypatch.setattr(logging.getLogger(), "level", logging.getLogger().level)
    code = main(["--config", str(tmp_path / FOLDER / "agent.toml"), "--check"])
    if code == 130:  # as if by Ctrl-C: this is the main thread
        assert "KeyboardInterrupt" in case.log
        return
    if code == 0:  # only a task can tell what is wrong
        job = survey(**case.learns)
        with pytest.raises(DataError) as caught:
            fit(open_source(settings.data).read(), job.task, settings.data)
        assert case.log in str(caught.value)
        return
    assert code == 65
    said = capsys.readouterr().err
    assert case.log in said
    assert "Traceback" not in said


class Odd(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("canary")


@pytest.mark.parametrize(
    "error", [RuntimeError("canary of anna"), Odd(), BaseException("canary")], ids=["runtime", "odd", "base"]
)
def test_what_nobody_has_foreseen_is_told_without_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fails(*_: object, **__: object) -> Any:
        raise error

    monkeypatch.setattr("agent.trainers.data.fit", fails)
    settings = lay_out(tmp_path, CASES["too few"])
    failed = outcome(settings, survey(**CLASSES))
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.told) == (Reason.FAILED, withheld(Reason.FAILED))
    _, effects = step(working(), failed)
    assert_no_mark(published(effects))
    assert type(error).__name__ in caplog.text
    assert "Traceback" in caplog.text


# ── what is declined for other reasons ─────────────────────────────────────────────────────────────


def test_the_names_of_other_sources_stay_here() -> None:
    state = replace(HOLDS, source="heart", offered=frozenset({"data", "canary"}))
    for state_ in (
        state,
        replace(state, source="data", limits=state.limits.model_copy(update={"sources": ("canary",)})),
    ):
        declined, effects = step(state_, announced(announcement()))
        assert declined.declined is not None
        assert_no_mark(published(effects))
        assert any("canary" in effect.text for effect in effects if isinstance(effect, do.Log))


def test_the_name_of_a_battery_stays_here() -> None:
    state = replace(HOLDS, conditions=HOLDS.conditions.model_copy(update={"mains": True}))
    event = replace(announced(announcement()), readings=Readings(battery="canary-00:11:22"))
    _, effects = step(state, event)
    assert b"on_battery" in published(effects)
    assert_no_mark(published(effects))


# ── it cannot be forgotten ─────────────────────────────────────────────────────────────────────────


def test_who_writes_no_public_text_gives_nothing_away() -> None:
    assert DataError("canary").public == withheld(Reason.BAD_DATA)
    for reason in Reason:
        failed = Failed(RoundId(1, 1), reason, "canary")
        assert failed.told == withheld(reason)
        _, effects = step(replace(working(), work=Working(RoundId(1, 1))), failed)
        assert_no_mark(published(effects))
        assert Objection(reason, "told", "canary").detail == "told"


def test_a_public_text_is_made_of_numbers_and_known_names() -> None:
    place = public("line {line}", line=np.int64(7))
    assert public("{place}: {name!r}, {share:.1f}", place=place, name=Known("rain"), share=0.25) == (
        "line 7: 'rain', 0.2"
    )
    assert public("{names}", names=Known(*"abcdefghij")) == "a, b, c, d, e, f, g, h and 2 more"
    assert public("{name}", name=Known("{secret}")) == "{secret}", "a name is no template"
    for value in ("text", b"bytes", Path("path"), ["list"], None, ValueError("canary")):
        with pytest.raises(TypeError, match="may not leave the device"):
            public("{value}", value=value)  # type: ignore[arg-type]


def calls(name: str) -> list[tuple[Path, ast.Call]]:
    return [
        (file.relative_to(ROOT), node)
        for package in ("agent", "fedge")
        for file in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def test_the_sentences_are_literals_and_nothing_else_makes_them() -> None:
    sentences = calls("public")
    assert len(sentences) > 30
    for file, call in sentences:
        (sentence,) = call.args
        assert isinstance(sentence, ast.Constant), f"{file}:{call.lineno}: a text that is put together"
    assert [str(file) for file, _ in calls("Public")] == ["fedge/data/disclosure.py"]


KNOWN: dict[str, Callable[[str], bool]] = {
    # Where a name is called known, and what it is made of: the task's, or a word of the program's own.
    "agent/data/answers.py": lambda said: said in TASKS,
    "agent/data/features.py": lambda said: said in TASKS,
    "agent/data/missing_values.py": lambda said: said in TASKS,
    "agent/data/extremes.py": lambda said: said == "self.columns[0].name",  # of `task.features`
    "agent/sources/arrays.py": lambda said: said == "key",
    "agent/sources/conversion.py": lambda said: said == "key",
}
TASKS = ("*task.features", "task.features[j]", "lacking[0]", "names[i]", "*classes", "*targets")


def test_only_names_of_the_task_are_called_known() -> None:
    for file, call in calls("Known"):
        assert KNOWN[str(file)](", ".join(map(ast.unparse, call.args))), f"{file}:{call.lineno}"
    assert [str(file) for file, _ in calls("Agreed")] == ["agent/data/answers.py"]


@pytest.mark.parametrize(("tell", "rows", "told"), [(True, 5, True), (True, 4, False), (False, 40, False)])
def test_a_class_that_the_task_lacks_is_named_only_where_its_owner_agrees(
    tell: bool, rows: int, told: bool
) -> None:
    y = np.array(["canary"] * rows + ["walk"] * 60)
    X = np.zeros((len(y), 1), np.float32)
    series = np.zeros(len(y), np.int64)
    samples = Samples("here", X, ("heat",), y, "y", series, (("here", len(y)),))
    task = Task(
        network=NetworkSpec(inputs=1, layers=(Dense(units=2),), loss="cross-entropy"),
        features=("heat",),
        classes=("walk", "run"),
    )
    with pytest.raises(Unfit) as raised:
        fit(samples, task, DataSettings(tell_classes=tell))
    assert ("canary" in raised.value.public) is told
