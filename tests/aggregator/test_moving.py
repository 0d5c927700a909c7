"""A content that must be cut finer moves to its other slot: the announced one can be read all along."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from aggregator.aggregation.job import Computed
from aggregator.aggregation.models import blob_of
from aggregator.config import FederationSettings
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.coded_form import CodedForm
from aggregator.core.federation import Federation
from aggregator.core.places import free
from aggregator.core.slots import Slots
from aggregator.ledger.writing import Ledger
from aggregator.shell import visible_effects
from aggregator.shell.round_job import _beside
from aggregator.shell.runtime import Runtime
from fedge.transport import LinkDown, LinkEvent, LinkUp, Publication, Sent, Traffic, Transport
from fedge.wire.assembly import Assembler, Limits
from fedge.wire.frames import count
from fedge.wire.messages.envelope import unseal
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import unpack
from fedge.wire.topics import Topics
from tests.aggregator.stories import EVERYBODY, OPEN, Story, blob, federation, kinds, of, running

TOPICS = Topics("greenhouse")
TASK, MODEL = b"task" * 3_000, bytes(range(250)) * 400
TOML = """\
[federation]
name = "greenhouse"
[model]
features = 2
classes = ["idle", "busy"]
"""


class Broker:
    """Retains what it gets, and reads what is announced after each message."""

    traffic = Traffic()

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self.takes = 131_072
        """The largest payload."""
        self.too_large = ""
        """The topic on which nothing fits."""
        self.left = 10**6
        """So many messages more, then the connection is lost."""
        self.answers: list[Sent] = []
        self.read: list[tuple[int, int]] = []
        """Slot and number of frames of the announced model, each time that they changed."""

    def room(self, topic: str) -> int:
        return self.takes if topic != self.too_large else 100

    def send(self, publications: Iterable[Publication], token: object = None, *, bulk: bool = False) -> None:
        for publication in islice(publications, self.left):
            self.left -= 1
            if len(publication.payload) > self.room(publication.topic):
                self.answers.append(Sent(token, "too large"))
                return
            self.retained[publication.topic] = publication.payload
            if not publication.payload:
                del self.retained[publication.topic]
            self._look()
        if token is not None and self.left:
            self.answers.append(Sent(token, None))

    def _look(self) -> None:
        if TOPICS.round not in self.retained:
            return
        said = unseal(self.retained[TOPICS.round], Manifest)
        assert said.model is not None
        for content, of_kind, topic in (
            (TASK, said.task, TOPICS.task),
            (MODEL, said.model, TOPICS.model),
        ):
            assembler = Assembler(Limits(2**30, 2**30))
            frames = [self.retained[topic(of_kind.slot, i)] for i in range(of_kind.frames)]
            whole = [assembler.offer("it", unpack(frame, Frame)) for frame in frames][-1]
            assert whole == content, "what is announced is readable"
        if self.read[-1:] != [(said.model.slot, said.model.frames)]:
            self.read.append((said.model.slot, said.model.frames))

    def frames(self, slot: int) -> int:
        return sum(topic.startswith(f"fedge/v1/greenhouse/model/{slot}/") for topic in self.retained)

    def handle(self, event: LinkEvent) -> None: ...

    def reply(self, publication: Publication) -> None: ...

    def subscribe(self, *_filters: str) -> None: ...


class Served:
    """A federation that serves at a broker, and can be started again."""

    def __init__(self, settings: FederationSettings, ledger: Ledger, broker: Broker) -> None:
        self.settings, self.ledger, self.broker = settings, ledger, broker
        with ledger.transaction():
            ledger.save_content("task", OPEN, blob_of(TASK, 0), TASK)
            ledger.save_content("model", OPEN, blob_of(MODEL, 1), MODEL)
        self.start()

    def start(self) -> None:
        """As after a restart: only the ledger and what is retained are left."""
        slots = {(kind, place.digest): place for (kind, _), place in self.ledger.slots().items()}
        task = slots["task", blob_of(TASK, 0).digest]
        model = slots["model", blob_of(MODEL, 0).digest]
        said = self.broker.retained.get(TOPICS.round)
        named = Slots()
        if said is not None:
            manifest = unseal(said, Manifest)
            named = Slots.of(manifest.task, manifest.model, None)
        state = federation(task=task, model=model, named=named, cohorts=(EVERYBODY,))
        self.runtime = Runtime(
            self.settings,
            state,
            self.ledger,
            cast(Transport, self.broker),
            lambda _job: None,
            lambda _job: None,
            now_s=lambda: 0.0,
        )

    def connect(self, takes: int, left: int = 10**6) -> None:
        """A connection that takes such payloads, and ends after so many messages."""
        self.broker.takes, self.broker.left = takes, left
        self.broker.answers.clear()
        self.runtime.turn([LinkUp(1, session_present=True, max_packet=2**20)])
        while self.broker.answers and self.broker.left:
            self.runtime.turn([self.broker.answers.pop(0)])

    def lose(self) -> None:
        self.runtime.turn([LinkDown("lost")])


@pytest.fixture
def served(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setattr(visible_effects, "job_of", lambda *_: None)  # these contents are no models to export
    (tmp_path / "federation.toml").write_text(TOML)
    return Served(FederationSettings.load(tmp_path / "federation.toml", {}), ledger, Broker())


COARSE, FINE = count(len(MODEL)), count(len(MODEL), 20_000 - 115)


@pytest.mark.parametrize("restarted", [False, True])
def test_it_moves_there_and_back_and_what_was_before_is_cleared(served: Served, restarted: bool) -> None:
    served.connect(131_072)
    finest = count(len(MODEL), 4_096 - 115)
    for takes in (20_000, 131_072, 4_096):
        served.lose()
        if restarted:
            served.start()
        served.connect(takes)
    assert served.broker.read == [(1, COARSE), (0, FINE), (1, finest)], "a larger limit changes nothing"
    assert (served.broker.frames(0), served.broker.frames(1)) == (0, finest)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("left", range(1, 20))
def test_wherever_the_connection_ends_the_announced_can_be_read(
    served: Served, left: int, restarted: bool
) -> None:
    served.connect(131_072)
    served.lose()
    served.connect(20_000, left)
    for takes in (20_000, 4_096):
        served.lose()
        if restarted:
            served.start()
        served.connect(takes)
    assert served.broker.read[-1][1] == count(len(MODEL), 4_096 - 115)
    slot = served.broker.read[-1][0]
    assert served.broker.frames(1 - slot) == 0


@pytest.mark.parametrize("takes", [(131_072, 4_096, 4_096), (20_000, 20_000, 4_096)])
@pytest.mark.parametrize("left", range(1, 20))
def test_what_may_be_announced_is_announced_again_as_it_is_cut_there(
    served: Served, left: int, takes: tuple[int, int, int]
) -> None:
    """The first connections end anywhere, so with a manifest of which nobody knows whether it has arrived."""
    first, second, last = takes
    served.connect(first, left)
    served.lose()
    served.connect(second, left)
    served.lose()
    served.connect(last)
    assert served.broker.read[-1][1] == count(len(MODEL), 4_096 - 115)


def test_a_manifest_that_is_too_large_leaves_what_the_one_before_names(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.connect(131_072)
    served.lose()
    served.broker.too_large = TOPICS.round
    served.connect(20_000)
    assert served.broker.read == [(1, COARSE)]
    assert (served.broker.frames(0), served.broker.frames(1)) == (FINE, COARSE)
    assert "too large" in caplog.text
    served.lose()
    served.broker.too_large = ""
    served.connect(20_000)
    assert served.broker.read == [(1, COARSE), (0, FINE)]
    assert (served.broker.frames(0), served.broker.frames(1)) == (FINE, 0)


def test_a_content_that_is_not_announced_yet_is_overwritten_where_it_is(served: Served) -> None:
    """The other slot is the announced one."""
    served.connect(131_072, left=2)
    served.lose()
    served.connect(20_000)
    assert served.broker.read == [(1, FINE)]


# ── the core ───────────────────────────────────────────────────────────────────────────────────────

EVERYTHING = frozenset({"task", "model", "key"})


def acknowledged(story: Story) -> Story:
    state = story.state
    key = state.form.key if state.form is not None else None
    story.tell(on.Announced(Slots.of(state.task, state.model, key)))
    return story


def places(state: Federation) -> dict[str, int]:
    assert state.model is not None
    found = {"task": state.task.slot, "model": state.model.slot}
    if state.form is not None and state.form.key is not None:
        found |= {"coded": state.form.coded.slot, "key": state.form.key.slot}
    return found


def test_only_what_must_be_cut_finer_moves_and_that_is_saved_first() -> None:
    story = acknowledged(running("a", "b", "c"))
    story.tell(on.LinkDown(story.now_s, "lost"))
    effects = story.tell(on.LinkUp(story.now_s, frozenset({"model"})))
    assert places(story.state) == {"task": 0, "model": 1}
    assert of(do.MoveContent, effects) == [do.MoveContent("model", blob("model of round 0", 1))]
    assert kinds(effects)[-1] is do.PublishBlobs
    assert kinds(effects).index(do.MoveContent) < kinds(effects).index(do.PublishBlobs)


def test_a_coded_form_moves_with_its_model_and_its_key_frame_too() -> None:
    form = CodedForm("int8", blob("coded"), blob("key", 1))
    story = acknowledged(running("a", "b", "c", form=form))
    story.tell(on.LinkDown(story.now_s, "lost"))
    effects = story.tell(on.LinkUp(story.now_s, EVERYTHING))
    assert places(story.state) == {"task": 1, "model": 1, "coded": 1, "key": 0}
    assert [move.kind for move in of(do.MoveContent, effects)] == ["task", "model", "coded", "key"]
    (published,) = of(do.PublishBlobs, effects)
    assert (published.form, published.model) == (story.state.form, story.state.model)


def uncertain() -> Story:
    """Round 2 is announced, and the broker has not acknowledged that: perhaps round 1 still is."""
    story = acknowledged(running("a", "b", "c"))
    for device in ("a", "b", "c"):
        story.answers(device)
    state = story.state
    event = on.RoundClosed(
        story.now_s, OPEN, state.task, state.task_message, blob("model of round 1", 1), state.progress
    )
    story.tell(event)
    story.published()
    story.tell(on.LinkDown(story.now_s, "lost"))
    return story


def test_where_two_slots_may_be_announced_the_manifest_decides_first() -> None:
    story = uncertain()
    effects = story.tell(on.LinkUp(story.now_s, frozenset({"model"})))
    assert not of(do.PublishBlobs, effects)
    assert [one.manifest.model for one in of(do.PublishManifest, effects)] == [blob("model of round 1", 1)]
    effects = story.tell(on.Announced(Slots(0, 1)))
    assert of(do.MoveContent, effects) == [do.MoveContent("model", blob("model of round 1", 0))]
    assert kinds(effects)[-1] is do.PublishBlobs
    assert story.tell(on.Announced(Slots(0, 1))) == [], "it moves once"


def test_a_broker_that_has_lost_everything_gets_the_frames_first() -> None:
    story = uncertain()
    effects = story.tell(on.LinkUp(story.now_s, frozenset({"model"}), kept=False))
    assert not of(do.PublishManifest, effects)
    assert [one.model for one in of(do.PublishBlobs, effects)] == [blob("model of round 1", 1)]


def test_an_acknowledgement_without_a_connection_moves_nothing() -> None:
    story = uncertain()
    story.tell(on.LinkUp(story.now_s, frozenset({"model"})))
    story.tell(on.LinkDown(story.now_s, "lost"))
    assert story.tell(on.Announced(Slots(0, 1))) == []
    effects = story.tell(on.LinkUp(story.now_s, frozenset({"model"})))
    assert of(do.MoveContent, effects) == [do.MoveContent("model", blob("model of round 1", 0))]


def test_a_new_content_goes_where_no_manifest_points_also_if_the_present_one_moves_there() -> None:
    """All answers may come in before the finer frames are there; the coarser ones are announced till then."""
    story = acknowledged(running("a", "b", "c"))
    assert (free(story.state, "model"), free(story.state, "task"), free(story.state, "key")) == (1, 1, None)
    story.tell(on.LinkDown(story.now_s, "lost"))
    story.tell(on.LinkUp(story.now_s, frozenset({"model"})))
    assert (places(story.state), free(story.state, "model")) == ({"task": 0, "model": 1}, 1)
    story.published()
    assert free(story.state, "model") == 0, "a manifest that names the finer frames is on its way"
    acknowledged(story)
    assert free(story.state, "model") == 0
    assert free(federation(model=None), "model") is None


def test_what_is_saved_when_a_round_closes_goes_there_too(served: Served) -> None:
    served.connect(131_072)
    served.lose()
    served.connect(20_000, left=1)  # the model, announced in 1, moves to 0
    state = served.runtime.now().state
    computed = Computed(
        task=state.task_message,
        task_blob=blob("new task", 0),
        task_data=b"new",
        model=blob("new model", 1),
        model_data=b"new",
        devices=3,
        samples=3,
        summary={},
        vector=np.zeros(9, np.float32),
        rule=None,
    )
    assert (state.task.slot, state.model and state.model.slot) == (0, 0), "the task need not be cut finer"
    placed = _beside(state, computed)
    assert (placed.task_blob.slot, placed.model.slot) == (1, 0)
    same = _beside(state, replace(computed, task_data=None, model_data=None))
    assert (same.task_blob, same.model) == (state.task, state.model)
