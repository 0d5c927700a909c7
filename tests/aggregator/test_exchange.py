"""The exchange of a masked round in the aggregator's core: what it sends, repeats, keeps and gives up."""

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aggregator.aggregation.unmasking import unmasked
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import exchange, grouping, rounds
from aggregator.core.federation import Federation, Promised, Stage
from aggregator.core.masking_rules import MaskingRules
from aggregator.core.verdicts import Verdict
from aggregator.ledger.records import MaskedSum
from fedge.frozen import replace
from fedge.identity.certified_keys import OwnKey, verifier
from fedge.masking import device
from fedge.masking.device_state import (
    Announced,
    Device,
    Event,
    Identity,
    Received,
    Send,
    UpdateReady,
    WantUpdate,
)
from fedge.masking.messages import Advertise, MaskingMessage, Terms
from fedge.masking.round_messages import Call, Objection
from fedge.wire.frames import split
from fedge.wire.messages.frame import unpack_frame
from fedge.wire.messages.message import Message, pack, unpack
from tests.aggregator.stories import EVERYBODY, P, federation

NAMES = ("pi-1", "pi-2", "pi-3", "pi-4")
PHASE_S = 30.0


class Party:
    """A device with a key of its own, and an update."""

    def __init__(self, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PublicFormat.CompressedPoint
        self.public = key.public_key().public_bytes(serialization.Encoding.X962, form)
        self.own, self.state = OwnKey(name.encode(), key), Device(name)
        self.levels = np.random.default_rng(len(name) + ord(name[-1])).integers(-127, 128, P)

    def tell(self, event: Event, keys: dict[str, bytes]) -> list[MaskingMessage]:
        identity = Identity(self.own.sign, verifier(keys))
        self.state, effects = device.step(self.state, event, identity)
        sent = [each.message for each in effects if isinstance(each, Send)]
        if any(isinstance(each, WantUpdate) for each in effects):
            sent += self.tell(UpdateReady(self.levels), keys)
        return sent


class Round:
    """A masked round whose four devices have promised, in the hands of the core."""

    def __init__(self, **changes: object) -> None:
        self.parties = {name: Party(name) for name in NAMES}
        self.keys = {name: party.public for name, party in self.parties.items()}
        promised = {name: Promised(name.encode(), key) for name, key in self.keys.items()}
        answers = {name: Verdict(name.encode() * 8, "admitted", samples=1) for name in NAMES}
        self.state: Federation = federation(
            kind="masked", masking=MaskingRules("pumps", 0.5, phase_s=PHASE_S), promised=promised,
            answers=answers, admitted=4, online=set(NAMES), fleet=set(NAMES), stage=Stage.COLLECTING,
            cohorts=(EVERYBODY,), link_up=True, published=True, announced=True, since_s=0.0, beat_due_s=1e9,
            **changes,
        )  # fmt: skip
        self.effects: list[do.Effect] = []

    def step(self, event: on.Event) -> list[do.Effect]:
        self.state, effects = rounds.step(self.state, event)
        self.effects += effects
        return effects

    def begin(self) -> list[do.Effect]:
        return self.step(on.Tick(1.0))

    def answers(self, effects: list[do.Effect]) -> list[tuple[str, MaskingMessage]]:
        """What devices answer to what these effects send."""
        found = []
        for effect in effects:
            if isinstance(effect, do.SendMasking):
                event: Event
                if isinstance(effect.message, Call):
                    event = Announced(unpack(effect.message.terms, Terms), (effect.device.encode() * 8)[:32])
                else:
                    assert isinstance(effect.message, MaskingMessage)
                    event = Received(effect.message)
                party = self.parties[effect.device]
                found += [(effect.device, message) for message in party.tell(event, self.keys)]
        return found

    def take(self, name: str, message: Message, now_s: float = 2.0) -> list[do.Effect]:
        return self.step(on.MaskingRead(now_s, name, split(pack(message)).id, message))

    def phase(self, effects: list[do.Effect], *without: str) -> list[do.Effect]:
        """Let all devices answer; the effects of the last answer."""
        for name, message in self.answers(effects):
            if name not in without:
                effects = self.take(name, message)
        return effects


def summed(story: Round) -> MaskedSum:
    """What the closing job finds."""
    assert story.state.exchange is not None
    return unmasked(story.state.exchange, grouping.needed(story.state.parts.rule), lambda: None).found


def sent(effects: list[do.Effect]) -> list[str]:
    return [each.device for each in effects if isinstance(each, do.SendMasking)]


def test_the_round_closes_with_the_sum() -> None:
    story = Round()
    effects = story.begin()
    assert isinstance(effects[0], do.BeginExchange), "it is stored before anything is sent"
    for _ in range(5):
        assert sent(effects) == list(NAMES)
        effects = story.phase(effects)
    kinds = [type(each) for each in effects]
    assert kinds == [do.KeepMasking, do.EndPhase, do.CloseRound], "taking masks off is the closing job's work"
    assert story.state.stage is Stage.CLOSING
    found = summed(story)
    assert (found.levels == sum(party.levels for party in story.parties.values())).all()
    assert found.devices == NAMES
    assert story.step(on.Tick(1e6)) == [], "nobody is asked for anything any more"


def test_after_a_restart_masks_are_taken_off_again() -> None:
    story = Round()
    effects = story.begin()
    for _ in range(5):
        effects = story.phase(effects)
    story.state = replace(story.state, stage=Stage.COLLECTING)  # as it is loaded
    assert story.step(on.Tick(3.0)) == [do.CloseRound(story.state.round, "masked")]
    assert story.state.stage is Stage.CLOSING


def test_every_message_is_kept_before_what_follows_from_it() -> None:
    story = Round()
    effects = story.phase(story.begin())
    assert [type(each) for each in effects[:2]] == [do.KeepMasking, do.EndPhase]
    assert sent(effects) == list(NAMES)


def test_who_does_not_answer_is_sent_its_message_again_and_then_left_out() -> None:
    story = Round()
    effects = story.begin()
    story.phase(effects, "pi-4")
    assert story.step(on.Tick(1.0 + exchange.AGAIN_S - 0.1)) == []
    assert sent(story.step(on.Tick(1.0 + exchange.AGAIN_S))) == ["pi-4"]
    due_s = rounds.due_s(story.state)
    assert due_s == 1.0 + 2 * exchange.AGAIN_S
    effects = story.step(on.Tick(1.0 + PHASE_S))
    assert sent(effects) == ["pi-1", "pi-2", "pi-3"], "t = 3 of 4 have answered"


def test_a_device_that_is_offline_is_not_sent_what_it_would_not_get() -> None:
    story = Round()
    story.phase(story.begin(), "pi-4")
    story.state = replace(story.state, online=story.state.online.drop("pi-4"))
    assert sent(story.step(on.Tick(1.0 + exchange.AGAIN_S))) == []


def test_too_few_answers_begin_another_attempt_with_other_terms() -> None:
    story = Round()
    first = story.begin()
    story.phase(first, "pi-3", "pi-4")
    effects = story.step(on.Tick(1.0 + PHASE_S))
    assert any(isinstance(each, do.DropExchange) for each in effects)
    assert story.state.stage is Stage.COLLECTING
    assert story.state.attempt == 1
    second = story.step(on.Tick(2.0 + PHASE_S))
    calls = [each.message for each in (*first, *second) if isinstance(each, do.SendMasking)]
    attempts = {unpack(each.terms, Terms).attempt for each in calls if isinstance(each, Call)}
    assert attempts == {0, 1}


def test_attempts_that_fail_again_and_again_are_begun_at_growing_intervals() -> None:
    """A cohort that its devices refuse makes attempts fail at once: without pauses, several each second."""
    story, now_s, begun = Round(), 1.0, list[float]()
    while now_s < 200.0:
        effects = story.step(on.Tick(now_s))
        if any(isinstance(each, do.BeginExchange) for each in effects):
            begun.append(now_s)
            assert story.state.exchange is not None
            digest = story.state.exchange.servers[0].digest
            for name in NAMES[:2]:
                story.take(name, Objection(terms=digest, device=name, why="stranger"), now_s)
            for name, message in story.answers(effects):
                if name not in NAMES[:2]:
                    story.take(name, message, now_s)
        now_s += 1.0
    assert begun == [1.0, 2.0, 7.0, 17.0, 37.0, 77.0, 137.0, 197.0]


def test_after_signatures_no_other_attempt_is_made() -> None:
    story = Round()
    effects = story.begin()
    for _ in range(4):
        effects = story.phase(effects)
    story.phase(effects, "pi-3", "pi-4")
    effects = story.step(on.Tick(2.0 + PHASE_S))
    assert isinstance(effects[-1], do.CloseRound)
    assert summed(story).levels is None, "too few have revealed"


def test_without_enough_signatures_the_round_closes_without_a_sum() -> None:
    story = Round()
    effects = story.begin()
    for _ in range(3):
        effects = story.phase(effects)
    story.phase(effects, "pi-3", "pi-4")
    effects = story.step(on.Tick(2.0 + PHASE_S))
    kinds = [type(each) for each in effects]
    assert kinds == [do.SaveNoSum, do.DropExchange, do.Log, do.CloseRound]
    assert story.state.is_summed


def test_an_objection_ends_the_waiting() -> None:
    story = Round()
    effects = story.begin()
    story.phase(effects, "pi-4")
    assert story.state.exchange is not None
    objection = Objection(terms=story.state.exchange.servers[0].digest, device="pi-4", why="bad_signature")
    effects = story.take("pi-4", objection)
    assert sent(effects) == ["pi-1", "pi-2", "pi-3"]
    assert any(isinstance(each, do.Log) and "pi-4 leaves" in each.text for each in effects)


def test_an_objection_in_the_name_of_another_device_does_not_count() -> None:
    story = Round()
    story.begin()
    assert story.state.exchange is not None
    objection = Objection(terms=story.state.exchange.servers[0].digest, device="pi-4", why="bad_signature")
    story.take("pi-1", objection)
    assert story.state.exchange.objected == frozenset()


def test_a_forged_message_is_dropped_and_logged() -> None:
    story = Round()
    (first, *_) = story.answers(story.begin())
    assert isinstance(first[1], Advertise)
    forged = first[1].model_copy(update={"signature": bytes(64)})
    effects = story.take("pi-1", forged)
    assert [type(each) for each in effects] == [do.DropSpool, do.Log]


def frame(name: str, data: bytes) -> on.FrameArrived:
    return on.FrameArrived(2.0, name, unpack_frame(split(data)[0]))


def test_a_message_that_was_taken_is_not_read_twice_and_a_large_one_is_refused() -> None:
    story = Round()
    (first, *_) = story.answers(story.begin())
    data = pack(first[1])
    read = do.ReadMasking("pi-1", split(data).id)
    assert read in story.step(frame("pi-1", data))
    story.take(*first)
    assert story.step(frame("pi-1", data)) == []
    effects = story.step(frame("pi-2", bytes(100_000)))
    assert [type(each) for each in effects] == [do.CountRefusal, do.SendReceipt, do.Log]


@pytest.mark.parametrize("missing", range(3))
def test_an_attempt_waits_for_three_devices(missing: int) -> None:
    story = Round()
    online = NAMES[: 4 - missing]
    story.state = replace(story.state, online=type(story.state.online)(online))
    begun = any(isinstance(each, do.BeginExchange) for each in story.begin())
    assert begun == (len(online) >= 3)
