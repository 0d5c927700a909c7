"""What a device makes of a plan whose algorithm or codec remembers, sends or receives more than weights."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.core.events import Done, Failed
from agent.core.state import AlgorithmState
from agent.trainers import states
from agent.trainers.assignment import Assignment
from fedge.algorithms.codecs import float32
from fedge.algorithms.local import descent
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import Entry, registered
from fedge.algorithms.trainer import Job, Trained
from fedge.wire.freshness import RoundId
from fedge.wire.messages.message import unpack
from fedge.wire.messages.update import Update
from tests import counting_codec
from tests.agent.test_trainer_limits import job, task, trainer
from tests.agent.test_trainers import worker

Array = NDArray[Any]


class Change(float32.Float32):
    """What changed, as it is, and the sum of all that was sent."""

    encodes: ClassVar[Literal["weights", "change"]] = "change"  # type: ignore[misc]

    def init(self, size: int) -> dict[str, Array]:
        return {"sum": np.zeros(size)}

    def encode(self, vector: Array, state: Any = None, seed: object = None) -> tuple[bytes, dict[str, Array]]:
        return float32.encode(vector), {"sum": state["sum"] + vector}


class Drifting:
    """sgd that remembers how often it ran, and sends and receives a control."""

    receives: ClassVar[tuple[str, ...]] = ("control",)
    sends: ClassVar[tuple[str, ...]] = ("control", "extra")

    def init(self, size: int) -> Mapping[str, Array]:
        return {"runs": np.array(0)}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        trained = descent.train(job.network, job.weights, job.X, job.y, job.plan, job.rng, cancelled)
        vectors = {
            "weights": trained.vector,
            "extra": np.zeros_like(trained.vector),
            "control": (job.received["control"] + 1).astype(np.float32),
        }
        return replace(trained, vectors=vectors, state={"runs": job.state["runs"] + 1})


@pytest.fixture(autouse=True)
def parts() -> Iterator[None]:
    with registered(
        counting_codec.ENTRY, Entry("codec", "change", Change), Entry("local", "drifting", Drifting)
    ):
        yield


def asked(plan: Plan, round_: int = 1, state: AlgorithmState | None = None, **more: Array) -> Assignment:
    assignment = job(task(), plan)
    manifest = assignment.manifest.model_copy(update={"round": round_})
    assert assignment.weights is not None
    weights = np.full_like(assignment.weights, 0.25)
    return replace(assignment, manifest=manifest, weights=weights, state=state, more=more)


def done(folder: Path, assignment: Assignment) -> tuple[Done, Update]:
    made = trainer(folder).work(assignment)
    assert isinstance(made, Done), made
    return made, unpack(made.payload, Update)


def test_an_algorithm_that_remembers_nothing_leaves_nothing(tmp_path: Path) -> None:
    made, update = done(tmp_path, asked(Plan()))
    assert made.pending is None
    assert update.vectors is None
    assert "state_new" not in update.metrics


def test_the_state_goes_on_from_the_one_before(tmp_path: Path) -> None:
    plan, state = Plan(codec="counting"), None
    for round_ in range(1, 5):
        made, update = done(tmp_path, asked(plan, round_, state))
        assert counting_codec.count_of(update.body) == round_ - 1
        assert update.metrics.get("state_new") == (1.0 if round_ == 1 else None)
        assert made.pending is not None
        assert made.pending.round == RoundId(1, round_)
        found = states.unpack(made.pending.data)
        assert sorted(found) == ["codec/weights/count", "codec/weights/last"]
        assert found["codec/weights/count"] == round_
        state = made.pending


def test_the_same_work_from_the_same_state_is_the_same_update(tmp_path: Path) -> None:
    plan = Plan(codec="counting")
    first, _ = done(tmp_path, asked(plan))
    again = [done(tmp_path, asked(plan, 2, first.pending)) for _ in range(2)]
    assert again[0][0].pending == again[1][0].pending
    assert again[0][1].body == again[1][1].body


@pytest.mark.parametrize(
    "other",
    [Plan(codec="change"), Plan(codec="counting", local="drifting")],
    ids=["another codec", "another algorithm"],
)
def test_of_another_lineage_it_begins_anew(tmp_path: Path, other: Plan) -> None:
    more = {"control": np.zeros(6, np.float32)} if other.local else {}
    first, _ = done(tmp_path, asked(Plan(codec="counting")))
    made, update = done(tmp_path, asked(other, 2, first.pending, **more))
    assert update.metrics["state_new"] == 1.0
    assert made.pending is not None
    assert first.pending is not None
    assert made.pending.lineage != first.pending.lineage


def test_who_comes_back_to_an_algorithm_begins_anew_too(tmp_path: Path) -> None:
    """Its state would be of a model that others have changed since, and was said to be given up."""
    first, _ = done(tmp_path, asked(Plan(codec="counting")))
    between, update = done(tmp_path, asked(Plan(), 2, first.pending))
    assert between.pending is not None
    assert (states.unpack(between.pending.data), update.metrics["state_new"]) == ({}, 1.0)
    after, update = done(tmp_path, asked(Plan(), 3, between.pending))
    assert (after.pending, "state_new" in update.metrics) == (None, False)
    _, update = done(tmp_path, asked(Plan(codec="counting"), 4, between.pending))
    assert (counting_codec.count_of(update.body), update.metrics["state_new"]) == (0, 1.0)


def test_a_state_that_cannot_be_read_begins_anew(tmp_path: Path) -> None:
    first, _ = done(tmp_path, asked(Plan(codec="counting")))
    assert first.pending is not None
    broken = replace(first.pending, data=b"of another program")
    _, update = done(tmp_path, asked(Plan(codec="counting"), 2, broken))
    assert (counting_codec.count_of(update.body), update.metrics["state_new"]) == (0, 1.0)


def test_a_codec_of_changes_gets_them_rounded_once(tmp_path: Path) -> None:
    whole = float32.decode(done(tmp_path, asked(Plan()))[1].body, 6)
    made, update = done(tmp_path, asked(Plan(codec="change")))
    wanted = (whole.astype(np.float64) - np.full(6, np.float32(0.25)).astype(np.float64)).astype(np.float32)
    assert update.kind == "delta"
    assert float32.decode(update.body, 6).tobytes() == wanted.tobytes()
    assert made.pending is not None
    assert np.array_equal(states.unpack(made.pending.data)["codec/weights/sum"], wanted)


def test_further_vectors_are_received_and_sent_and_each_has_a_state_of_its_codec(tmp_path: Path) -> None:
    plan = Plan(local="drifting", codec="counting")
    control = np.arange(6, dtype=np.float32)
    first, _ = done(tmp_path, asked(plan, control=control))
    made, update = done(tmp_path, asked(plan, 2, first.pending, control=control))
    assert update.vectors is not None
    assert sorted(update.vectors) == ["control", "extra"]
    assert np.array_equal(counting_codec.Counting().decode(update.vectors["control"], 6, 0), control + 1)
    assert made.pending is not None
    found = states.unpack(made.pending.data)
    assert found["local/runs"] == 2
    for vector in ("weights", "control", "extra"):
        assert found[f"codec/{vector}/count"] == 2


@pytest.mark.parametrize(
    "more", [{}, {"control": np.zeros(5, np.float32)}], ids=["lacking", "of another length"]
)
def test_a_model_without_what_the_algorithm_needs_is_declined(tmp_path: Path, more: dict[str, Array]) -> None:
    failed = trainer(tmp_path).work(asked(Plan(local="drifting"), **more))
    assert isinstance(failed, Failed)


@dataclass
class Own:
    """A trainer of the owner's that returns this."""

    vectors: dict[str, Array]
    state: dict[str, Array]

    def work(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        return Trained(self.vectors, 1, 1.0, 0.5, self.state)


def test_an_owners_trainer_may_remember_something_or_nothing(tmp_path: Path) -> None:
    weights = {"weights": np.ones(6, np.float32)}
    made = worker(tmp_path, Own(weights, {})).work(asked(Plan()))
    assert isinstance(made, Done)
    assert made.pending is None
    made = worker(tmp_path, Own(weights, {"n": np.array(7)})).work(asked(Plan()))
    assert isinstance(made, Done)
    assert made.pending is not None
    assert states.unpack(made.pending.data) == {"local/n": 7}
    # What it remembered is not forgotten to be nothing: it says so now.
    made = worker(tmp_path, Own(weights, {})).work(asked(Plan(), 2, made.pending))
    assert isinstance(made, Done)
    assert made.pending is not None
    assert states.unpack(made.pending.data) == {}


@pytest.mark.parametrize(
    "vectors",
    [
        {},
        {"weights": np.zeros(6, np.float32), "control": np.zeros(6, np.float32)},
        {"weights": np.zeros(7, np.float32)},
        {"weights": np.full(6, np.nan, np.float32)},
    ],
    ids=["none", "one too many", "of another length", "not finite"],
)
def test_other_vectors_than_the_round_asks_for_are_declined(
    tmp_path: Path, vectors: dict[str, Array]
) -> None:
    assert isinstance(worker(tmp_path, Own(vectors, {})).work(asked(Plan())), Failed)


def test_a_change_beyond_float32_is_declined(tmp_path: Path) -> None:
    far = {"weights": np.full(6, 3e38, np.float32)}
    assignment = asked(Plan(codec="change"))
    assignment = replace(assignment, weights=np.full(6, -3e38, np.float32))
    assert isinstance(worker(tmp_path, Own(far, {})).work(assignment), Failed)


def test_a_state_that_cannot_be_kept_is_declined(tmp_path: Path) -> None:
    own = Own({"weights": np.ones(6, np.float32)}, {"n": np.array([object()])})
    assert isinstance(worker(tmp_path, own).work(asked(Plan())), Failed)
