"""What one device says in secure aggregation, at any time: it is refused, or its effect has the stated bound.

pi-4 takes part honestly in the phases before the one in which it lies, and is silent afterwards.
"""

from collections.abc import Iterator

import pytest

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.admission import Admitted, Terms, admit
from aggregator.core.federation import Stage
from aggregator.ledger.records import MaskedSum
from fedge.frozen import replace
from fedge.masking.messages import (
    Advertise,
    Agreement,
    Consistency,
    MaskedInput,
    MaskingMessage,
    Roster,
    Share,
    Unmask,
)
from fedge.masking.round_messages import Objection, Promise
from fedge.wire.messages.message import Message
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason, Rejection
from tests.aggregator.stories import EVERYBODY, OPEN, TASK, P
from tests.aggregator.test_exchange import NAMES, PHASE_S, Round, sent, summed

LIAR = "pi-4"
LONG = bytes(30_000)
FIVE = (Advertise, Share, MaskedInput, Consistency, Unmask)
ONLY_SAID = {do.DropSpool, do.Log, do.CountRefusal}


def lies(honest: dict[str, MaskingMessage], before: list[MaskingMessage]) -> Iterator[Message | Rejection]:
    """What a liar may say where these would be the honest messages; none of it is one that may count.

    Args:
        honest: the present phase's, by device.
        before: what the liar has said already.
    """
    yield from before  # again, after its time
    own = honest[LIAR]
    digest = own.terms
    for name, message in honest.items():
        if name != LIAR:
            yield message  # another device's, as it is
            if not isinstance(message, Share | Unmask):  # those are not signed; see the sums below
                yield message.model_copy(update={"device": LIAR})
        yield message.model_copy(update={"terms": bytes(32), "device": LIAR})
    for field in type(own).model_fields:
        if field not in ("terms", "device"):
            yield own.model_copy(update={field: LONG})
            yield own.model_copy(update={field: b""})
    named = {"terms": digest, "device": LIAR}
    keys = {"sealing_key": bytes(32), "masking_key": b"k" * 32}
    for message in (
        Advertise(**named, **keys, commitment=bytes(32), signature=bytes(64)),
        Share(**named, roster=bytes(32), sealed=LONG),
        MaskedInput(**named, values=LONG, signature=bytes(64)),
        Consistency(**named, signature=bytes(64)),
        Unmask(**named, shares=LONG),
        Roster(terms=digest, members=b"\xff", advertised=bytes(96), signatures=b""),
        Agreement(terms=digest, signers=b"\x0f", signatures=LONG),
        Objection(terms=digest, device="pi-1", why="bad_signature"),
        Objection(terms=bytes(32), device=LIAR, why="bad_signature"),
    ):
        yield message
    yield Rejection(Reason.MALFORMED, "no message at all")


def in_phase(story: Round, phase: int) -> tuple[dict[str, MaskingMessage], list[MaskingMessage]]:
    """Go on to a phase; what its honest answers would be, and what the liar has said before."""
    effects, said = story.begin(), list[MaskingMessage]()
    for _ in range(phase):
        answers = story.answers(effects)
        said += [message for name, message in answers if name == LIAR]
        for name, message in answers:
            effects = story.take(name, message)
    return dict(story.answers(effects)), said


def ended(story: Round, honest: dict[str, MaskingMessage]) -> MaskedSum:
    """The others answer, and the liar never again: what is found."""
    effects: list[do.Effect] = []
    for name, message in honest.items():
        if name != LIAR:
            effects += story.take(name, message)
    for at in range(12):
        if any(isinstance(each, do.CloseRound) for each in effects):
            return summed(story)
        if not sent(effects):
            effects = story.step(on.Tick(1.0 + (at + 1) * PHASE_S))
            continue
        answers, effects = story.answers(effects), []
        for name, message in answers:
            if name != LIAR:
                effects += story.take(name, message)
    raise AssertionError("no end")


@pytest.mark.parametrize("phase", range(5), ids=[kind.TYPE for kind in FIVE])
def test_no_lie_at_any_time_changes_anything_of_the_others(phase: int) -> None:
    story = Round()
    honest, said = in_phase(story, phase)
    assert type(honest[LIAR]) is FIVE[phase]
    before = story.state
    number = 0
    for number, lie in enumerate(lies(honest, said), 1):
        if lie in honest.values() and getattr(lie, "device", "") == LIAR:
            continue
        effects = story.step(on.MaskingRead(2.0, LIAR, number.to_bytes(32), lie))  # type: ignore[arg-type]
        assert story.state == before, lie
        assert {type(each) for each in effects} <= ONLY_SAID, effects
        (told,) = [each for each in effects if isinstance(each, do.Log)]
        assert told.text
    assert number > 20
    found = ended(story, honest)
    assert found.levels is not None
    counted = NAMES[:3] if phase <= 2 else NAMES  # once its masked update has come, the others unmask it
    assert found.devices == counted
    assert (found.levels == sum(story.parties[name].levels for name in counted)).all()


def test_before_a_call_and_after_the_end_nothing_is_taken() -> None:
    story = Round()
    honest, _ = in_phase(Round(), 0)
    for message in honest.values():
        before = story.state
        effects = story.take(LIAR, message)
        assert (story.state, [type(each) for each in effects]) == (before, [do.DropSpool])
    story.begin()
    story.state = replace(story.state, stage=Stage.DONE, exchange=None)
    effects = story.take(LIAR, honest[LIAR])
    assert [type(each) for each in effects] == [do.DropSpool]


def test_the_log_and_the_counts_tell_why_bytes_are_no_message() -> None:
    story = Round()
    story.begin()
    rejection = Rejection(Reason.UNKNOWN_VERSION, "protocol version 7: this program speaks version 1")
    effects = story.step(on.MaskingRead(2.0, LIAR, bytes(32), rejection))
    assert do.CountRefusal(LIAR, Reason.UNKNOWN_VERSION) in effects
    (told,) = [each for each in effects if isinstance(each, do.Log)]
    assert rejection.detail in told.text


@pytest.mark.parametrize("field", ["sealed", "shares"])
def test_wrong_shares_cost_the_sum_at_most_and_never_change_it(field: str) -> None:
    """Of four devices three shares give a secret: with one holder that lies the sum is found, or none is."""
    story = Round()
    phase = {"sealed": 1, "shares": 4}[field]
    honest, _ = in_phase(story, phase)
    own = honest[LIAR]
    wrong = own.model_copy(update={field: bytes(len(getattr(own, field)))})
    story.take(LIAR, wrong)
    found = ended(story, honest)
    if found.levels is not None:
        assert (found.levels == sum(story.parties[name].levels for name in found.devices)).all()
    assert story.state.stage is Stage.CLOSING, "the round ends"


def test_an_objection_counts_once_for_its_own_device_and_its_words_are_one_cause() -> None:
    story = Round()
    story.begin()
    assert story.state.exchange is not None
    digest = story.state.exchange.servers[0].digest
    causes = set()
    for number in range(100):
        objection = Objection(terms=digest, device=LIAR, why=f"why-{number}", detail="x" * 500)
        effects = story.take(LIAR, objection)
        causes |= {each.cause for each in effects if isinstance(each, do.Log)}
        assert story.state.exchange.objected == {LIAR}
        assert len(effects) == (2 if number == 0 else 1)
    assert causes == {"masking objection"}


def test_who_comes_and_goes_is_sent_its_message_once_until_it_is_due_again() -> None:
    story = Round()
    assert sent(story.begin()) == list(NAMES)
    told = 0
    for connection in range(50):
        for online in (False, True):
            status = Status(online=online, boot=bytes(16), connection=connection, version="0")
            told += len(sent(story.step(on.StatusSeen(2.0, LIAR, status))))
    assert told == 1
    effects = story.step(on.Tick(6.0))
    assert sent(effects) == list(NAMES), "five seconds later it is due"


PROMISE = Promise(generation=1, round=1, base=b"m" * 32, device=LIAR, certificate=b"c")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"generation": 2}, Reason.OTHER_GENERATION),
        ({"round": 2}, Reason.FUTURE_ROUND),
        ({"round": 0}, Reason.STALE_ROUND),
        ({"base": bytes(32)}, Reason.WRONG_BASE),
        ({"device": "pi-1"}, Reason.FOREIGN_DEVICE),
    ],
)
def test_a_promise_is_of_its_device_and_of_the_open_round_and_counts_as_one(
    changes: dict[str, object], reason: Reason | None
) -> None:
    terms = Terms(OPEN, "masked", b"m" * 32, P, TASK, (EVERYBODY,), 1_000)
    found = admit(terms, LIAR, PROMISE.model_copy(update=changes))
    if reason is None:
        assert isinstance(found, Admitted)
        assert found.samples == 1
    else:
        assert isinstance(found, Rejection)
        assert found.reason is reason
