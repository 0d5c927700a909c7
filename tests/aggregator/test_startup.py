"""How an aggregator begins: what it saw of the federation against what its ledger knows."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread, Timer
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation.models import blob_of, model_message, weights_of
from aggregator.aggregation.replay import replay
from aggregator.aggregation.rollback import Return
from aggregator.config import FederationSettings
from aggregator.core import effects as do
from aggregator.core import presence, takeover
from aggregator.core.claims import HEARING_S, Known
from aggregator.core.federation import Federation, Stage
from aggregator.core.presence import LeaderCheck
from aggregator.core.verdicts import Verdict
from aggregator.ledger.layout import FILE
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.views import read_rounds
from aggregator.ledger.writing import Ledger
from aggregator.shell import leader_check, startup
from aggregator.shell.startup import known, open_federation
from fedge.errors import ConfigError, Conflict, Undecided
from fedge.identity import ed25519
from fedge.identity.trust import Signer, succession
from fedge.nn.spec import UnknownLayer
from fedge.service.liveness import Pulse
from fedge.service.settings import BrokerSettings
from fedge.service.systemd import ServiceManager, Watchdog
from fedge.transport import Answered, LinkUp, MessageArrived, Publication, Sent
from fedge.transport.mqtt import MqttTransport
from fedge.wire.frames import cost
from fedge.wire.freshness import RoundId
from fedge.wire.messages.envelope import seal
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Reason
from fedge.wire.topics import Topics
from fleet.demo import broker as brokers
from tests.aggregator.stories import (
    EVERYBODY,
    SMALLER,
    digest_of,
    frames,
    kinds,
    service,
    status,
    update,
)
from tests.aggregator.stories import Story as CoreStory
from tests.aggregator.test_presence import manifest
from tests.wording import assert_tells, telling

INSTANCE = b"i" * 16
UNWATCHED = Watchdog(ServiceManager({}))
TOML = """\
[federation]
name = "{name}"
[broker]
url = "{url}"
[model]
features = {features}
classes = ["idle", "busy"]
[stopping]
rounds = {rounds}
"""

SURVEYED_SPREAD_S = 59.0
"""Tells the task that the survey ends with from the one it begins with."""


def model_data(state: Federation, round_id: RoundId) -> bytes:
    return model_message(round_id, np.full(state.weights, round_id.round, np.float32))


def model_of(state: Federation, round_id: RoundId) -> Blob:
    return blob_of(model_data(state, round_id), round_id.round % 2)


class Place:
    """A state folder, and the aggregators that begin in it."""

    def __init__(self, folder: Path, name: str = "greenhouse", url: str = "mqtt://127.0.0.1:1") -> None:
        self.folder = folder
        self.values: dict[str, object] = {"name": name, "url": url, "features": 2, "rounds": 2}
        self.inbox: SimpleQueue[Any] = SimpleQueue()
        self.topics = Topics(name)
        self.ledger = Ledger(folder / "ledger.db")

    def settings(self) -> FederationSettings:
        path = self.folder / "federation.toml"
        path.write_text(TOML.format(**self.values))
        return FederationSettings.load(path, {})

    def open(self, *, new_generation: bool = False, back: Return | None = None) -> Federation:
        state = open_federation(
            self.settings(),
            self.ledger,
            INSTANCE,
            self.inbox,
            UNWATCHED,
            new_generation=new_generation,
            back=back,
        )
        assert state is not None
        return state

    def close_round(self, state: Federation, devices: int = 3) -> None:
        """As the runtime does: the model, the closed round, all in one."""
        number = state.round.round
        with self.ledger.transaction():
            for i in range(devices):
                self.ledger.save_status(f"pi-{i}", status(), 0.0)
            self.ledger.save_round(state.round, state.kind, 0, (EVERYBODY,), 0.0)
            data, model = model_data(state, state.round), model_of(state, state.round)
            if number == 0:
                task = pack(state.task_message.model_copy(update={"reconnect_spread_s": SURVEYED_SPREAD_S}))
                surveyed = blob_of(task, 1 - state.task.slot)
                self.ledger.save_content("task", state.round, surveyed, task)
            self.ledger.save_content("model", state.round, model, data)
            summary = {} if number == 0 else {"weight_change": 0.5, "accuracy": number / 10}
            if number:
                summary |= {"median_norm": max(1.0, 3.0 - number), "moved": 0.5}
            self.ledger.close_round(state.round, model.digest, 2, 20, summary, 0.0, "mean/1")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.ledger.close()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[[LeaderCheck], None]:
    """Say what is seen of the federation, without a broker; nobody else comes while it is waited for."""

    def say(watch: LeaderCheck) -> None:
        def conclude(
            settings: FederationSettings, ledger: Known, *_: object, new_generation: bool, **__: object
        ) -> takeover.TakeUp | None:
            link: Any = None
            found = leader_check.Watching(
                settings, link, ledger, lambda: presence.PATIENCE_S + HEARING_S, new_generation=new_generation
            )
            found._state = replace(found._state, watch=watch, subscribed_s=0.0, first_s=0.0, asked=True)
            found.turn([])
            return found.seen

        monkeypatch.setattr(startup, "watch", conclude)

    say(LeaderCheck(0.0))
    return say


def fleet(*numbers: int, generation: int = 1, online: bool = True) -> LeaderCheck:
    watch = LeaderCheck(0.0)
    for i, number in enumerate(numbers):
        watch = watch.status(f"pi-{i}", status(online, RoundId(generation, number)), 0.0)
    return watch


Seen = Callable[[LeaderCheck], None]

# ── a first start, and restarts ────────────────────────────────────────────────────────────────────


def test_a_new_federation_begins_with_the_survey(place: Place, seen: Seen) -> None:
    state = place.open()
    assert (state.round, state.kind, state.stage, state.model) == ((1, 0), "survey", Stage.PREPARING, None)
    assert state.task_message == place.settings().task()
    assert (state.task.slot, state.instance) == (0, INSTANCE)
    assert unpack(place.ledger.content(state.task.digest), Task) == state.task_message


def test_the_ledgers_id_outlives_restarts_and_generations(place: Place, seen: Seen) -> None:
    first = place.open()
    assert place.open().ledger == first.ledger
    assert place.open(new_generation=True).ledger == first.ledger


def test_a_restart_in_the_middle_of_a_round_goes_on_with_it(place: Place, seen: Seen) -> None:
    open_round = place.open().round
    cohorts = (Cohort(fraction=0.5, seed=3), EVERYBODY)
    pieces = frames(update("c"), 3)
    with place.ledger.transaction():
        place.ledger.save_round(open_round, "survey", 1, cohorts, 0.0)
        place.ledger.save_elapsed(open_round, 42.0)
        place.ledger.save_answer(open_round, "a", Verdict(b"a" * 32, "admitted", samples=5))
        place.ledger.save_answer(open_round, "b", Verdict(b"b" * 32, "refused"))
        place.ledger.spool("c", pieces[1])
    seen(fleet(0, 0))
    state = place.open()
    assert (state.round, state.cohorts, state.elapsed_s, state.attempt) == (open_round, cohorts, 42.0, 1)
    assert (set(state.answers), state.admitted) == ({"a", "b"}, 1)
    assert state.partials["c"].id == digest_of(update("c"))
    assert state.spooled == cost(pieces[1].size, 3)
    assert (state.online, state.fleet) == ({"pi-0", "pi-1"}, {"pi-0", "pi-1"})


def test_a_restart_between_rounds_begins_the_next_with_the_newest_task_and_model(
    place: Place, seen: Seen
) -> None:
    first = place.open()
    with place.ledger.transaction():
        place.ledger.save_answer(first.round, "a", Verdict(b"a" * 32, "admitted", samples=5))
    place.close_round(first)
    state = place.open()
    assert (state.round, state.kind, state.cohorts, state.answers) == ((1, 1), "train", (), {})
    assert (state.task_message.reconnect_spread_s, state.task.slot) == (SURVEYED_SPREAD_S, 1)
    assert state.model == model_of(state, RoundId(1, 0))


def test_a_restart_judges_by_what_was_usual_before(place: Place, seen: Callable[[LeaderCheck], None]) -> None:
    for _ in range(3):
        place.close_round(place.open())
    state = place.open()
    assert state.round == (1, 2)
    assert (state.usual.distance, state.furthest) == (2.0, 200.0), "of the longer of two medians, 2 and 1"
    assert state.base is not None
    assert state.base.tolist() == [2.0] * state.weights, "the weights of the model of round 2"
    place.close_round(place.open(new_generation=True))
    assert (place.open().furthest, place.open().round) == (None, (2, 1)), "a generation begins without"


def test_a_restart_after_the_end_is_done_and_goes_on_when_more_rounds_are_asked_for(
    place: Place, seen: Seen
) -> None:
    for _ in range(3):  # the survey and two rounds
        place.close_round(place.open())
    done = place.open()
    assert (done.stage, done.round, done.progress.rounds) == (Stage.DONE, (1, 2), 2)
    assert done.progress.figures["accuracy"] == 0.2
    assert do.Complete in kinds(CoreStory(done).start())

    place.values["rounds"] = 3
    resumed = place.open()
    assert (resumed.stage, resumed.round, resumed.progress.rounds) == (Stage.PREPARING, (1, 3), 2)
    assert resumed.model == model_of(resumed, RoundId(1, 2))


def test_an_open_round_is_closed_before_a_rule_that_was_changed_ends_learning(
    place: Place, seen: Seen
) -> None:
    """It was announced: the devices that have seen it do not believe that the round before is the last."""
    place.values["rounds"] = 9
    for _ in range(3):  # the survey and two rounds
        place.close_round(place.open())
    with place.ledger.transaction():
        place.ledger.save_round(RoundId(1, 3), "train", 0, (EVERYBODY,), 0.0)

    place.values["rounds"] = 2
    seen(fleet(3, 3))
    story = CoreStory(place.open())
    assert (story.stage(), story.state.round) == ("preparing", (1, 3))
    effects = story.announce()
    for device in ("pi-0", "pi-1"):
        effects += story.sees(device, status(seen=RoundId(1, 3)))
    assert not {do.Complete, do.Abort} & set(kinds(effects))
    for device in ("pi-0", "pi-1"):
        story.answers(device, body=bytes(4 * story.state.weights))
    assert story.stage() == "closing"
    assert do.Complete("3 rounds") in story.closed()
    assert (story.stage(), story.state.round) == ("done", (1, 3))


# ── memories that do not fit ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "watch", [fleet(7, 7, online=False), LeaderCheck(0.0).manifest(manifest(RoundId(1, 7)), 0.0)]
)
def test_a_wiped_folder_is_noticed_and_both_ways_on_are_named(
    place: Place, seen: Seen, watch: LeaderCheck
) -> None:
    seen(watch)
    with pytest.raises(ConfigError) as caught:
        place.open()
    for words in ("1.7", "this ledger is new", "estore", "--new-generation"):
        assert words in str(caught.value)
    assert place.ledger.meta() is None  # nothing was begun

    assert place.open(new_generation=True).round == (2, 0)


def test_an_old_backup_is_noticed(place: Place, seen: Seen) -> None:
    place.close_round(place.open())
    seen(fleet(1, 1))
    assert place.open().round == (1, 1)  # as new as the fleet
    seen(fleet(3, 3, 1))
    with pytest.raises(ConfigError, match=telling("2 of the 3 devices", "1.1: ", "pi-0 (1.3), pi-1")):
        place.open()


def test_a_backup_one_round_old_is_noticed_by_the_end_of_learning(place: Place, seen: Seen) -> None:
    place.close_round(place.open())
    last = manifest(RoundId(1, 1))
    seen(LeaderCheck(0.0).manifest(last, 0.0))
    assert place.open().round == (1, 1)  # it was announced, and is open
    seen(LeaderCheck(0.0).manifest(last.model_copy(update={"state": "done"}), 0.0))
    with pytest.raises(ConfigError, match=r"round 1\.1 .*done.* open"):
        place.open()


@pytest.mark.parametrize("closed", [0, 1])
@pytest.mark.parametrize("last", [2**31 - 2, 2**31 - 1])
def test_one_liar_among_three_does_not_stop_a_ledger_and_burns_no_number(
    place: Place, seen: Seen, closed: int, last: int, caplog: pytest.LogCaptureFixture
) -> None:
    place.open()
    for _ in range(closed):
        place.close_round(place.open())
    seen(fleet(0, 0).status("pi-2", status(seen=RoundId(last, 0)), 0.0))
    state = place.open()
    assert (state.round, state.incredible) == ((1, closed), {"pi-2"})
    assert len([line for line in caplog.messages if f"pi-2 ({last}.0)" in line]) == 1
    assert place.open(new_generation=True).round == (2, 0)
    assert place.open(new_generation=True).round == (3, 0)


def test_two_of_many_that_are_not_there_yet_are_no_reason_for_a_human(place: Place, seen: Seen) -> None:
    """The broker lost its memory, and they came first."""
    place.close_round(place.open(), devices=6)
    seen(fleet(5))
    assert place.open().round == (1, 1)
    seen(fleet(5, 5))
    with pytest.raises(Undecided, match=telling("pi-2, pi-3, pi-4, pi-5")) as caught:
        place.open()
    assert caught.value.exit_code == os.EX_TEMPFAIL
    seen(fleet(5, 5, 0))
    assert place.open().round == (1, 1)


def test_what_a_ledger_knows_of_its_fleet(place: Place, seen: Seen) -> None:
    settings = place.settings()
    assert known(settings, place.ledger) == Known()
    state = place.open()
    with place.ledger.transaction():
        place.ledger.save_status("pi-0", status(online=False), 0.0)
        place.ledger.count_refusals("who never told its status", 1, Reason.MALFORMED)
    assert known(settings, place.ledger) == Known(RoundId(1, 0), frozenset({"pi-0"}))
    place.close_round(state, devices=2)
    assert known(settings, place.ledger) == Known(RoundId(1, 1), frozenset({"pi-0", "pi-1"}), young=False)
    place.open(new_generation=True)
    assert not known(settings, place.ledger).young, "it has a past"


def test_a_forged_announcement_stops_and_says_so_but_burns_no_number(
    place: Place, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    place.close_round(place.open())
    seen(LeaderCheck(0.0).manifest(manifest(RoundId(2**31 - 2, 7)), 0.0))
    with pytest.raises(ConfigError, match=telling("'fedge/v1/greenhouse/round'")):
        place.open()
    assert place.open(new_generation=True).round == (2, 0)
    assert "`fedge-agent forget-rounds`" in caplog.text
    # one of a fleet that has only learnt on for long is not taken for a forgery
    seen(LeaderCheck(0.0).manifest(manifest(RoundId(4, 9_000)), 0.0))
    assert place.open(new_generation=True).round == (5, 0)


def test_a_generation_that_none_can_follow_is_told(place: Place, seen: Seen) -> None:
    place.open()
    with place.ledger.transaction():
        place.ledger.begin_generation(LedgerMeta(b"l" * 16, 2**31 - 1, "{}"))
    with pytest.raises(ConfigError, match=telling("generation 2147483647 ")):
        place.open(new_generation=True)


def test_a_changed_model_is_refused_by_name_until_a_new_generation(place: Place, seen: Seen) -> None:
    place.close_round(place.open())
    place.values["features"] = 3
    with pytest.raises(ConfigError, match=telling("[model] features ", "--new-generation")):
        place.open()
    state = place.open(new_generation=True)
    assert (state.round, state.kind, state.model) == ((2, 0), "survey", None)
    assert len(state.task_message.features) == 3
    assert place.open().round == (2, 0)


def test_a_task_of_a_newer_program_is_not_gone_on_with(place: Place, seen: Seen) -> None:
    seen(LeaderCheck(0.0))
    state = place.open()
    network = state.task_message.network
    layers = (*network.layers[:-1], UnknownLayer(type="dropout"), network.layers[-1])
    newer = state.task_message.model_copy(update={"network": network.model_copy(update={"layers": layers})})
    place.ledger.save_content("task", state.round, blob_of(pack(newer), 1), pack(newer))
    with pytest.raises(ConfigError, match=telling("layer:dropout", "Fedge ", "install")):
        place.open()


def test_a_new_generation_with_the_same_model_begins_anew_and_again(place: Place, seen: Seen) -> None:
    place.close_round(place.open())
    place.close_round(place.open())
    for generation in (2, 3, 4):
        state = place.open(new_generation=True)
        assert (state.round, state.model, state.cohorts) == ((generation, 0), None, ())
        assert (state.answers, state.progress.rounds) == ({}, 0)
        assert place.open().task == state.task
        place.close_round(state)
        assert place.open().model == model_of(state, RoundId(generation, 0))


def test_a_new_generations_task_is_not_written_over_the_one_that_is_announced(
    place: Place, seen: Seen
) -> None:
    place.open()
    place.open(new_generation=True)
    for _ in range(3):
        place.close_round(place.open())
        announced = place.open().task
        assert place.open(new_generation=True).task.slot != announced.slot


def test_a_new_generation_is_after_all_that_anybody_has_seen(place: Place, seen: Seen) -> None:
    place.open()
    seen(fleet(3, generation=2))
    assert place.open(new_generation=True).round == (3, 0)
    seen(fleet(3, 4, generation=7))
    assert place.open(new_generation=True).round == (8, 0)


# ── the next generation, with the model of this one ────────────────────────────────────────────────


def learn_by_hand(place: Place) -> np.ndarray:
    """Close the survey and one round with a model of real weights; returns them."""
    place.close_round(place.open())
    state = place.open()
    place.close_round(state)
    vector = np.arange(state.weights, dtype=np.float32)
    data = model_message(state.round, vector)
    blob = blob_of(data, slot=1)
    with place.ledger.transaction():
        place.ledger.save_content("model", state.round, blob, data)
        place.ledger.close_round(state.round, blob.digest, 2, 20, {"weight_change": 0.5}, 0.0, "mean/1")
    return vector


def test_a_generation_may_go_on_with_the_model_of_the_one_before(place: Place, seen: Seen) -> None:
    vector = learn_by_hand(place)
    before = place.open()
    seen(fleet(9, 9))  # a backup: the fleet has learnt on
    state = place.open(new_generation=True, back=Return())
    assert (state.round, state.kind, state.stage) == ((2, 1), "train", Stage.PREPARING)
    assert (state.task, state.task_message) == (before.task, before.task_message)
    assert state.model is not None
    assert state.model.slot == 0  # the other slot: the old model stays readable until all have the new one
    assert weights_of(place.ledger, state.model, state.weights).tolist() == vector.tolist()
    assert (state.answers, state.progress.rounds) == ({}, 0)
    seen(fleet(1, generation=2))
    assert place.open().model == state.model  # and so after a restart
    assert [(row.kind, row.attempt, row.devices) for row in read_rounds(place.folder / FILE)] == [
        ("kept", 0, 0)
    ]
    assert place.ledger.rule(RoundId(2, 0)) == "kept/1"
    assert replay(place.folder / FILE, 0, seed=0).same


def test_there_must_be_a_model_to_go_on_with(place: Place, seen: Seen) -> None:
    with pytest.raises(ConfigError, match=telling("ledger is new")):
        place.open(new_generation=True, back=Return())
    place.open()
    with pytest.raises(ConfigError, match=telling("no model")):
        place.open(new_generation=True, back=Return())
    learn_by_hand(place)
    place.values["features"] = 3
    with pytest.raises(ConfigError, match=telling("[model] features ")):
        place.open(new_generation=True, back=Return())
    life = place.ledger.meta()
    assert life is not None
    assert life.generation == 1


# ── watching, at a real broker ─────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[brokers.Broker]:
    with brokers.start("auto", tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def town(tmp_path: Path, broker: brokers.Broker, request: pytest.FixtureRequest) -> Iterator[Place]:
    place = Place(tmp_path, name=f"f-{abs(hash(request.node.name)) % 10**9}", url=broker.url)
    yield place
    place.ledger.close()


def retain(town: Place, *publications: tuple[str, bytes], expiry_s: int | None = None) -> None:
    """Publish retained messages, and wait until the broker has them."""
    inbox: SimpleQueue[Any] = SimpleQueue()
    link = MqttTransport(BrokerSettings(url=str(town.values["url"])), "publisher", inbox.put)
    link.open()
    try:
        while True:
            match inbox.get(timeout=60):
                case LinkUp() as up:
                    link.handle(up)
                    link.send((Publication(t, p, True, expiry_s) for t, p in publications), "all")
                case Answered() as answer:
                    link.handle(answer)
                case Sent():
                    return
    finally:
        link.close()


@pytest.mark.system
def test_the_retained_messages_of_a_federation_are_seen(town: Place) -> None:
    topics = town.topics
    retain(
        town,
        (topics.round, seal(manifest(RoundId(1, 4)))),
        *[(topics.status(f"pi-{i}"), pack(status(i % 2 == 0, RoundId(1, 3)))) for i in range(50)],
        (topics.status("liar"), b"garbage"),
        (Topics("elsewhere").status("pi-1"), pack(status(seen=RoundId(9, 9)))),
    )
    ledger = Known(RoundId(1, 4))
    watch = leader_check.watch(town.settings(), ledger, town.inbox, UNWATCHED).watch
    assert (watch.announced, watch.devices["pi-7"]) == ((1, 4), (1, 3))
    assert (len(watch.devices), len(watch.online)) == (50, 25)
    with pytest.raises(ConfigError, match=r"round 1\.4 .*new"):
        town.open()
    assert town.open(new_generation=True).round == (2, 0)


def test_fault_72_with_a_signing_key_only_its_own_announcements_are_believed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A forged one could name a round that no ledger has, and the aggregator would not start."""
    topics, old, new, thief = Topics("lab"), ed25519.generate(), ed25519.generate(), ed25519.generate()
    before = Signer(topics, old.public, old.sign)
    ours = Signer(topics, new.public, new.sign, (succession(topics, old.public, old.sign, new.public),))
    ahead = manifest(RoundId(9, 9))
    for payload in (
        seal(ahead),
        Signer(topics, thief.public, thief.sign).seal(ahead, "round"),
        ours.seal(ahead, "export"),
        before.seal(ahead, "round"),
    ):
        caplog.clear()
        heard = MessageArrived(topics.round, payload, True, None, 1, 1)
        assert leader_check.understood(topics, heard, 1.0, ours) is None
        (line,) = caplog.messages
        assert_tells(line, "fedge/v1/lab/round: ")
    heard = MessageArrived(topics.round, ours.seal(manifest(RoundId(1, 4)), "round"), True, None, 1, 1)
    assert leader_check.understood(topics, heard, 1.0, ours) == takeover.ManifestSeen(
        1.0, manifest(RoundId(1, 4))
    )


@pytest.mark.system
def test_a_beat_that_moves_makes_us_give_way(town: Place) -> None:
    retain(town, (town.topics.service, pack(service(SMALLER, beat=1))))
    alive = Thread(
        target=lambda: [
            retain(town, (town.topics.service, pack(service(SMALLER, beat)))) for beat in range(2, 40)
        ]
    )
    alive.start()
    with pytest.raises(Conflict, match=f"{town.values['name']}.*instance {SMALLER.hex()[:8]}"):
        town.open()
    alive.join()


@pytest.mark.system
def test_a_beat_that_stands_still_is_not_waited_for_for_ever(
    town: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "PATIENCE_S", 0.6)
    retain(town, (town.topics.service, pack(service(SMALLER, beat=1))))
    assert town.open().round == (1, 0)


@pytest.mark.system
def test_what_was_said_long_ago_is_not_waited_for(town: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker says how old it is: without that, this would take a day."""
    monkeypatch.setattr(presence, "PATIENCE_S", 86_400.0)
    monkeypatch.setattr(leader_check, "SERVICE_EXPIRY_S", 100_000)
    retain(town, (town.topics.service, pack(service(SMALLER, beat=1))), expiry_s=100_000 - 86_400)
    assert town.open().round == (1, 0)


def test_on_a_slow_line_silence_begins_with_the_brokers_answer(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a wiped ledger would begin over the memory of a fleet that it did not wait for."""
    monkeypatch.setattr(presence, "QUIET_S", 0.05)

    class SlowLink:
        pulse = Pulse("the network thread")

        def __init__(self, _broker: object, _name: str, inbox: Callable[[object], None]) -> None:
            self.inbox = inbox

        def open(self) -> None:
            self.inbox(LinkUp(1, False, 10**6))

        def subscribe(self, *_filters: str) -> None:
            Timer(0.3, self.answer).start()

        def answer(self) -> None:
            known = pack(status(seen=RoundId(1, 7)))
            self.inbox(Answered(1, None, subscription=True))
            self.inbox(MessageArrived(place.topics.status("a"), known, True, None, 1, 1))

        def handle(self, _event: object) -> None: ...
        def close(self) -> None: ...

    monkeypatch.setattr(leader_check, "MqttTransport", SlowLink)
    ledger = Known(RoundId(1, 7), frozenset("a"), young=False)
    found = leader_check.watch(place.settings(), ledger, place.inbox, UNWATCHED)
    assert found.watch.devices == {"a": (1, 7)}


@pytest.mark.system
def test_a_request_to_stop_ends_the_watching(town: Place) -> None:
    town.inbox.put("stop")
    opened = open_federation(
        town.settings(), town.ledger, INSTANCE, town.inbox, UNWATCHED, new_generation=False
    )
    assert opened is None
    assert town.ledger.meta() is None


@pytest.mark.system
def test_what_is_asked_meanwhile_is_kept_for_the_loop(town: Place) -> None:
    """A signal that comes in the last moment of watching must not be lost with the link's own events."""
    for event in (LinkUp(1, False, 100), "stop", Answered(1, None)):
        town.inbox.put(event)
    leader_check._drain(town.inbox)
    assert town.inbox.get_nowait() == "stop"
    assert town.inbox.empty()
