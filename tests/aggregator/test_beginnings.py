"""Generations that begin with a kept model, or with kept rounds computed again without some devices."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from aggregator.aggregation.admitted_surveys import surveyed
from aggregator.aggregation.aggregate import mean_of
from aggregator.aggregation.beginnings import begin_with, spans
from aggregator.aggregation.generations import go_back
from aggregator.aggregation.models import blob_of, first_weights, weights_of
from aggregator.aggregation.replay import replay
from aggregator.aggregation.rollback import Rollback, beginning_of, require_wishable, story
from aggregator.config import FederationSettings
from aggregator.core.presence import LeaderCheck
from aggregator.ledger.layout import FILE
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.writing import Ledger
from fedge.algorithms.codecs import float32
from fedge.data.moments import measure
from fedge.errors import ConfigError, DataError
from fedge.nn import Network
from fedge.nn.spec import Standardize, clip_of
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task
from fedge.wire.models import model_message
from tests.aggregator.stories import survey, update
from tests.aggregator.test_replay import EVERYBODY, admit
from tests.wording import assert_tells, telling

TOML = """\
[federation]
name = "lab"
seed = 5
[model]
features = 2
classes = ["a", "b"]
{more}
"""
SEED = 5
DEVICES = ("pi-0", "pi-1", "pi-2", "rogue")
BODIES = np.random.default_rng(8).normal(size=(6, len(DEVICES), 6)).astype(np.float32)
UPDATES = {
    (number, device): BODIES[number - 1, i] for number in range(1, 7) for i, device in enumerate(DEVICES)
}
SAMPLES = {device: 20 + 7 * k for k, device in enumerate(DEVICES)}
LONG = 20, 2**40


class Place:
    """A ledger with six rounds of training in generation 1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = self.configure()
        self.path = folder / FILE
        self.ledger = Ledger(self.path)
        self.survey(1)
        for number in range(1, 7):
            self.train(RoundId(1, number))

    def configure(self, more: str = "") -> FederationSettings:
        (self.folder / "federation.toml").write_text(TOML.format(more=more))
        return FederationSettings.load(self.folder / "federation.toml", {})

    def survey(self, generation: int) -> None:
        here, ledger, plain = RoundId(generation, 0), self.ledger, self.settings.task()
        with ledger.transaction():
            ledger.begin_generation(LedgerMeta(b"l" * 16, generation, "{}"))
            ledger.save_content("task", here, blob_of(pack(plain), 0), pack(plain))
            for number, device in enumerate(DEVICES):
                X = np.random.default_rng(number).normal(size=(20, 2)).astype(np.float32)
                if device == "rogue":
                    X[:, 0] += 1e6
                admit(ledger, survey(device, here, samples=20, features=measure(X).to_bytes()))
            task = surveyed(ledger, here, plain, rule="survey/1")
            assert isinstance(task, Task)
            ledger.save_content("task", here, blob_of(pack(task), 1), pack(task))
            self.close(here, first_weights(task, SEED, generation), "survey")

    def train(self, here: RoundId) -> None:
        with self.ledger.transaction():
            for device in DEVICES:
                body = float32.encode(UPDATES[here.round, device])
                admit(self.ledger, update(device, here, samples=SAMPLES[device], body=body))
            self.close(here, mean_of(self.ledger, here, 6)[0], "train")

    def close(self, here: RoundId, vector: np.ndarray, kind: str) -> None:
        data, rule = model_message(here, vector), "survey/1" if kind == "survey" else "mean/1"
        self.ledger.save_round(here, kind, 0, (EVERYBODY,), 0.0)
        self.ledger.save_content("model", here, blob_of(data, here.round % 2), data)
        self.ledger.close_round(here, blob_of(data, 0).digest, 4, 100, {"weight_change": 0.5}, 1.0, rule)
        self.ledger.retain(here, *LONG)

    def model(self, here: RoundId) -> np.ndarray:
        digest = self.ledger.model_of(here)
        assert digest is not None
        return np.frombuffer(unpack(self.ledger.content(digest), Model, max_bytes=MAX_SIZE).body, "<f4")

    def wish(self, wish: Rollback) -> None:
        life = self.ledger.meta()
        assert life is not None
        require_wishable(self.settings, self.ledger, beginning_of(self.ledger, life, wish), wish)

    def go_back(self, wish: Rollback, generation: int = 2) -> None:
        life = self.ledger.meta()
        assert life is not None
        go_back(self.settings, self.ledger, life, generation, LeaderCheck(0.0), wish)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.ledger.close()


def others(number: int, *without: str) -> np.ndarray:
    """A round's mean over the others, in plain float64."""
    left = [device for device in DEVICES if device not in without]
    total = sum(SAMPLES[device] * UPDATES[number, device].astype(np.float64) for device in left)
    return total / sum(SAMPLES[device] for device in left)  # type: ignore[no-any-return]


@pytest.mark.parametrize("number", [0, 3, 6])
def test_a_generation_begins_with_the_model_of_a_kept_round(place: Place, number: int) -> None:
    place.go_back(Rollback(round=number))
    assert place.model(RoundId(2, 0)).tobytes() == place.model(RoundId(1, number)).tobytes()
    again = replay(place.path, 0, SEED)
    assert (again.same, again.kind, again.rule, dict(again.samples)) == (True, "kept", "kept/1", {})
    assert place.ledger.first_task(2) == place.ledger.task_after(RoundId(1, 0))


def test_the_first_round_after_it_is_exactly_what_it_would_have_been_without_the_device(place: Place) -> None:
    place.go_back(Rollback(round=5, without=("rogue",)))
    expected = others(6, "rogue").astype(np.float32)
    assert np.allclose(place.model(RoundId(2, 0)), expected, rtol=2e-7, atol=0)
    by_rule, _ = mean_of(place.ledger, RoundId(1, 6), 6, without={"rogue"})
    assert place.model(RoundId(2, 0)).tobytes() == by_rule.tobytes()
    again = replay(place.path, 0, SEED)
    assert again.same
    assert again.samples == {device: SAMPLES[device] for device in DEVICES[:3]}


def test_later_rounds_add_what_the_others_changed(place: Place) -> None:
    place.go_back(Rollback(round=2, without=("rogue", "pi-1")))
    expected = others(3, "rogue", "pi-1")
    for number in (4, 5, 6):
        expected = expected + others(number, "rogue", "pi-1") - place.model(RoundId(1, number - 1))
    assert np.allclose(place.model(RoundId(2, 0)), expected.astype(np.float32), rtol=1e-6, atol=1e-6)
    assert replay(place.path, 0, SEED).same


def test_another_ledger_begins_with_another_model(place: Place) -> None:
    place.go_back(Rollback(round=2, without=("rogue",)))
    with place.ledger.transaction():
        place.ledger._run("UPDATE answers SET verdict = 'refused' WHERE round = 4 AND device = 'pi-1'")
    assert not replay(place.path, 0, SEED).same


def test_rounds_of_before_stay_and_a_generation_may_go_back_to_those_of_an_earlier_one(place: Place) -> None:
    place.go_back(Rollback(round=4))
    place.train(RoundId(2, 1))
    place.train(RoundId(2, 2))
    assert replay(place.path, 2, SEED).same
    place.go_back(Rollback(generation=1, round=3, without=("rogue",)), generation=3)
    assert replay(place.path, 0, SEED).same
    place.go_back(Rollback(generation=2, round=1), generation=4)
    assert place.model(RoundId(4, 0)).tobytes() == place.model(RoundId(2, 1)).tobytes()
    place.go_back(Rollback(), generation=5)
    assert place.model(RoundId(5, 0)).tobytes() == place.model(RoundId(2, 1)).tobytes()


def test_what_is_freed_meanwhile_is_told_and_the_survey_stays(place: Place) -> None:
    place.go_back(Rollback(round=4, without=("rogue",)))
    for number in (1, 2):
        place.train(RoundId(2, number))
    with place.ledger.transaction():
        place.ledger.retain(RoundId(2, 2), 4, 2**40)  # 2.2, 2.1, 2.0 and 1.6
    with pytest.raises(DataError, match=telling("round 2.0 ", "round 1.4 ", "generation 1: 0, 5 to 6")):
        replay(place.path, 0, SEED)
    with pytest.raises(DataError, match=telling("round 1.4 ", "generation 1: 0, 5 to 6")):
        place.wish(Rollback(generation=1, round=4))
    assert place.ledger.survey_of(2) == 1
    assert place.ledger.kept_rounds(1).keys() == {0, 6}
    place.go_back(Rollback(survey_without=("rogue",)), generation=3)
    with place.ledger.transaction():
        place.ledger.retain(RoundId(3, 0), 2, 0)
    assert place.ledger.kept_rounds(1).keys() == {0}, "as long as its frozen layers are in use"
    place.survey(4)
    with place.ledger.transaction():
        place.ledger.retain(RoundId(4, 0), 1, 0)
    assert place.ledger.kept_rounds(1) == {}


def test_a_ledger_of_a_version_before_goes_back_too(place: Place) -> None:
    place.ledger.close()
    with closing(sqlite3.connect(place.path)) as db:
        for column in ("task", "forgotten", "quorum", "parts"):
            db.execute(f"ALTER TABLE rounds DROP COLUMN {column}")
        for column in ("missed", "missed_in", "declined_for", "declined_at", "uses"):
            db.execute(f"ALTER TABLE devices DROP COLUMN {column}")
        db.execute("ALTER TABLE answers DROP COLUMN began")
        db.execute("DROP INDEX answers_by_device")
        db.execute("ALTER TABLE answers DROP COLUMN prefix")
        db.execute("DROP INDEX answers_by_round")
        db.execute("CREATE INDEX answers_by_update ON answers (device, digest)")
        for column in ("segment", "offset", "length"):
            db.execute(f"ALTER TABLE frames DROP COLUMN {column}")
        db.execute("DROP TABLE beginnings")
        db.execute("DROP TABLE marks")
        db.execute("DROP TABLE states")
        for table in ("codings", "charges", "noise", "masking", "masked_sums", "masked_groups"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 5")
        db.execute(f"PRAGMA application_id = {0x46650000 + 5}")
        db.commit()
    assert replay(place.path, 3, SEED).same, "only looked at, it stays as it is"
    assert replay(place.path, 0, SEED).same
    place.ledger = Ledger(place.path)
    task = place.ledger.newest("task", 1)
    place.go_back(Rollback(round=5, without=("rogue",), survey_without=("rogue",)))
    assert replay(place.path, 0, SEED).same
    place.go_back(Rollback(generation=1, round=3), generation=3)
    assert place.ledger.task_after(RoundId(3, 0)) == place.ledger.task_after(RoundId(1, 3)) == task
    place.go_back(Rollback(generation=1, round=2), generation=4)
    assert place.ledger.newest("task", 4) == task, "though its bytes are a later generation's by now"
    with place.ledger.transaction():
        place.ledger._run("UPDATE rounds SET task = NULL WHERE generation = 1")
    with pytest.raises(DataError, match=telling("round 1.3 ", "no longer kept")):
        place.wish(Rollback(generation=1, round=3))


# ── the survey ─────────────────────────────────────────────────────────────────────────────────────


def task_of(place: Place, here: RoundId) -> Task:
    digest = place.ledger.task_after(here)
    assert digest is not None
    return unpack(place.ledger.content(digest), Task, max_bytes=MAX_SIZE)


def test_the_survey_is_merged_again_without_a_device_and_the_model_answers_as_before(place: Place) -> None:
    place.go_back(Rollback(round=5, survey_without=("rogue",)))
    before, after = task_of(place, RoundId(1, 5)), task_of(place, RoundId(2, 0))
    old, new = before.network.layers[0], after.network.layers[0]
    assert isinstance(old, Standardize)
    assert isinstance(new, Standardize)
    assert abs(old.means[0]) > 1e5
    assert abs(new.means[0]) < 1
    assert old.means[1] != new.means[1]
    X = np.random.default_rng(4).normal(size=(50, 2))
    answers = [
        Network(task.network, np.float64).predict(place.model(here).astype(np.float64), X)
        for task, here in ((before, RoundId(1, 5)), (after, RoundId(2, 0)))
    ]
    assert np.abs(answers[0] - answers[1]).max() < 1e-5
    assert replay(place.path, 0, SEED).same
    assert place.ledger.slots()["task", 0].digest == place.ledger.task_after(RoundId(2, 0)), "the other slot"

    place.train(RoundId(2, 1))
    place.go_back(Rollback(), generation=3)
    assert task_of(place, RoundId(3, 0)) == after, "whoever was left out stays out"
    assert replay(place.path, 0, SEED).same
    place.go_back(Rollback(survey_without=("pi-1",)), generation=4)
    assert place.ledger.beginning(4).survey_without == ("pi-1", "rogue")  # type: ignore[union-attr]
    assert replay(place.path, 0, SEED).same


def test_the_bound_on_inputs_is_carried_over(place: Place) -> None:
    """The survey is merged again by its own rule, with the bound that it was closed with."""
    first = RoundId(1, 0)
    with place.ledger.transaction():
        place.ledger._run(
            "UPDATE rounds SET rule = 'survey/3', summary = ? WHERE round = 0", '{"clip": 12.0}'
        )
        clipped = surveyed(place.ledger, first, place.settings.task(), rule="survey/3")
        assert isinstance(clipped, Task)
        data = pack(clipped)
        place.ledger.save_content("task", first, blob_of(data, 1), data)
        place.ledger._run("UPDATE rounds SET task = ?", blob_of(data, 1).digest)
    assert clip_of(clipped.network) == 12.0
    place.go_back(Rollback(round=5, survey_without=("rogue",)))
    after = task_of(place, RoundId(2, 0))
    assert after != clipped
    assert clip_of(after.network) == 12.0
    X = np.random.default_rng(4).normal(size=(50, 2))  # of which neither network clips any
    answers = [
        Network(task.network, np.float64).predict(place.model(here).astype(np.float64), X)
        for task, here in ((clipped, RoundId(1, 5)), (after, RoundId(2, 0)))
    ]
    assert np.abs(answers[0] - answers[1]).max() < 1e-5
    assert replay(place.path, 0, SEED).same
    place.go_back(Rollback(), generation=3)
    assert clip_of(task_of(place, RoundId(3, 0)).network) == 12.0


def test_a_survey_that_an_older_program_freed_cannot_be_merged_again(place: Place) -> None:
    with place.ledger.transaction():
        place.ledger.forget_rounds_before(RoundId(1, 3))
    with pytest.raises(DataError, match=telling("surveys", "no longer kept")):
        place.wish(Rollback(survey_without=("rogue",)))


# ── wishes that cannot be granted ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wish", "facts"),
    [
        (Rollback(round=7), ("round 1.7 ", "1.6")),
        (Rollback(generation=9, round=1), ("round 9.1 ",)),
        (Rollback(round=6, without=("rogue",)), ("--without: ", "1.6")),
        (Rollback(round=2, without=("rogue", "pi-9")), ("--without pi-9: ", "pi-0, pi-1, ")),
        (Rollback(round=2, without=DEVICES), ("no device", "round 1.3", "2")),
        (Rollback(round=2, without=DEVICES[1:]), ("pi-0", "round 1.3", "2")),
        (Rollback(survey_without=("pi-9",)), ("--survey-without pi-9: ",)),
        (Rollback(survey_without=DEVICES), ("--survey-without pi-0 ", "no device", "round 1.0")),
    ],
)
def test_what_cannot_be_done_is_said_with_what_can(
    place: Place, wish: Rollback, facts: tuple[str, ...]
) -> None:
    with pytest.raises(DataError, match=telling(*facts)):
        place.wish(wish)
    with pytest.raises(DataError):
        place.go_back(wish)
    life = place.ledger.meta()
    assert life is not None
    assert life.generation == 1


def test_the_model_of_another_network_is_not_gone_back_to(place: Place) -> None:
    place.settings = place.configure('layers = [{ type = "dense", units = 3 }]')
    with pytest.raises(ConfigError, match=telling("[model] layers ")):
        place.wish(Rollback(round=3))
    place.survey(2)  # learning went on with that one
    with pytest.raises(ConfigError, match=telling("[model] layers ")):
        place.wish(Rollback(generation=1, round=3))
    place.settings = place.configure()
    place.go_back(Rollback(generation=1, round=3), generation=3)
    assert place.model(RoundId(3, 0)).tobytes() == place.model(RoundId(1, 3)).tobytes()


def test_who_goes_back_reads_what_it_does(place: Place) -> None:
    life = place.ledger.meta()
    assert life is not None

    def told(wish: Rollback) -> str:
        return story(beginning_of(place.ledger, life, wish))

    assert_tells(told(Rollback(round=5)), "1.5")
    assert_tells(told(Rollback(round=5, without=("rogue",))), "round 1.5", "round 1.6", "without rogue")
    said = told(Rollback(round=2, without=("rogue", "pi-1"), survey_without=("rogue",)))
    assert_tells(said, "rounds 1.3 to 1.6", "without pi-1, rogue", "3 rounds", "survey without rogue")


def test_spans_of_numbers() -> None:
    assert spans([0, 4, 5, 6, 9]) == "0, 4 to 6, 9"
    assert spans([]) == ""


def test_a_model_that_is_announced_is_not_written_over(place: Place) -> None:
    slot = place.ledger.slots()["model", 0]
    assert slot.digest == place.ledger.model_of(RoundId(1, 6))
    place.go_back(Rollback(round=5))
    model = place.ledger.slots()["model", 1]
    assert weights_of(place.ledger, model, 6).tobytes() == place.model(RoundId(1, 5)).tobytes()
    begun = begin_with(place.ledger, place.ledger.beginning(2))  # type: ignore[arg-type]
    assert begun.vector.tobytes() == place.model(RoundId(2, 0)).tobytes()
