"""A device in secure aggregation, against a server that lies: frames as they come from the broker.

The server here has an aggregator's whole knowledge: all messages and all certificates, and no device's key.
Each lie is refused with its reason; the device logs it and tells the server, and sends nothing else.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedge.masking import server
from fedge.masking.messages import (
    Agreement,
    Delivery,
    MaskingMessage,
    Roster,
    Survivors,
)
from fedge.masking.refusals import Why
from fedge.masking.round_messages import Call, Objection
from fedge.masking.server_state import Arrived, PhaseOver, SendTo, Summed
from fedge.wire.frames import split
from fedge.wire.messages.frame import unpack_frame
from fedge.wire.messages.message import Message, pack
from tests.agent.masked_places import ROUND, Place, call, federation, new_places, terms_of

NAMES = ("pi-1", "pi-2", "pi-3", "pi-4")
Lie = Callable[[str, MaskingMessage], MaskingMessage]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return federation(tmp_path_factory.mktemp("federation"), NAMES)


@pytest.fixture
def places(homes: dict[str, Path]) -> dict[str, Place]:
    return new_places(homes)


def give(place: Place, message: Message) -> list[Message]:
    """Let a message arrive in frames; what the device sends."""
    place.sent.clear()
    for payload in split(pack(message), 1_500):
        place.rounds.take(unpack_frame(payload))
    return list(place.sent)


def truth(name: str, message: MaskingMessage) -> MaskingMessage:
    return message


def run(places: dict[str, Place], lie: Lie = truth) -> tuple[Summed | None, dict[str, list[Objection]]]:
    """One attempt; `lie` changes what the server sends. Returns the sum, and the objections by device."""
    terms = terms_of(NAMES)
    state = server.begin(terms)
    mail: list[tuple[str, Message]] = [(name, call(terms, places)) for name in NAMES]
    told: dict[str, list[Objection]] = {name: [] for name in NAMES}
    while True:
        for name, message in mail:
            for answer in give(places[name], message):
                if isinstance(answer, Objection):
                    told[name].append(answer)
                elif isinstance(answer, MaskingMessage):
                    state, _ = server.step(state, Arrived(name, answer), lambda *_: True)
        state, effects = server.step(state, PhaseOver(), lambda *_: True)
        mail = [(each.device, lie(each.device, each.message)) for each in effects if isinstance(each, SendTo)]
        if not mail:
            return next((each for each in effects if isinstance(each, Summed)), None), told


def test_an_honest_server_gets_the_sum(places: dict[str, Place]) -> None:
    found, told = run(places)
    assert found is not None
    assert (found.levels == sum(place.levels for place in places.values())).all()
    assert not any(told.values())


def swapped_key(name: str, message: MaskingMessage) -> MaskingMessage:
    """The server puts a key of its own in the place of the masking key of pi-2, for pi-1 alone."""
    if not isinstance(message, Roster) or name != "pi-1":
        return message
    keys = bytearray(message.advertised)
    keys[96 + 32 : 96 + 64] = b"\x09" + bytes(31)
    return message.model_copy(update={"advertised": bytes(keys)})


def missing_survivor(name: str, message: MaskingMessage) -> MaskingMessage:
    """The server calls pi-1 dead to the others, whose update it has."""
    if isinstance(message, Survivors) and name != "pi-1":
        update = {"alive": b"\x0e", "dead": b"\x01"}
        return message.model_copy(update=update)
    return message


def both(name: str, message: MaskingMessage) -> MaskingMessage:
    """The server calls pi-4 alive and dead."""
    return message.model_copy(update={"dead": b"\x08"}) if isinstance(message, Survivors) else message


def forged_agreement(name: str, message: MaskingMessage) -> MaskingMessage:
    """The server makes up the signatures of the survivors."""
    if not isinstance(message, Agreement):
        return message
    return message.model_copy(update={"signatures": bytes(len(message.signatures))})


def too_few(name: str, message: MaskingMessage) -> MaskingMessage:
    """The server says that only two have agreed."""
    if not isinstance(message, Agreement):
        return message
    return message.model_copy(update={"signers": b"\x03", "signatures": message.signatures[:128]})


def fewer_sharers(name: str, message: MaskingMessage) -> MaskingMessage:
    """The server leaves pi-1 with too few others."""
    if not isinstance(message, Delivery):
        return message
    return message.model_copy(update={"sharers": b"\x03", "sealed": message.sealed[:80]})


@pytest.mark.parametrize(
    ("lie", "why", "device"),
    [
        (swapped_key, Why.BAD_SIGNATURE, "pi-1"),
        (fewer_sharers, Why.TOO_FEW, "pi-1"),
        (both, Why.ALIVE_AND_DEAD, "pi-1"),
        (forged_agreement, Why.BAD_SIGNATURE, "pi-1"),
        (too_few, Why.TOO_FEW, "pi-1"),
    ],
)
def test_a_lie_is_refused_logged_and_told(
    places: dict[str, Place], lie: Lie, why: Why, device: str, caplog: pytest.LogCaptureFixture
) -> None:
    found, told = run(places, lie)
    assert {each.why for each in told[device]} == {why.value}
    assert f"refused ({why})" in caplog.text
    if lie is not swapped_key:  # the other three go on without the one that was lied to
        assert found is None


def test_two_survivor_sets_are_not_both_signed(places: dict[str, Place]) -> None:
    """Nobody reveals what would tell the update of pi-1: the two sets have no threshold each."""
    found, _ = run(places, missing_survivor)
    assert found is None


def test_a_foreign_certificate_is_refused(places: dict[str, Place]) -> None:
    """The certificate of another device does not stand for pi-2, nor does one of another authority."""
    terms = terms_of(NAMES)
    for certificate in (places["pi-3"].certificate, b"0"):
        (answer,) = give(places["pi-1"], call(terms, places, pi_2=certificate))
        assert isinstance(answer, Objection)
        assert answer.why == Why.BAD_SIGNATURE
        assert "pi-2" in answer.detail


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"clip": 0.25}, Why.OTHER_TERMS),
        ({"value_bits": 16}, Why.OTHER_TERMS),
        ({"max_weight": 1_000}, Why.OTHER_TERMS),
        ({"server": "honest-but-curious"}, Why.OTHER_TERMS),
        ({"base": b"n" * 32}, Why.OTHER_TERMS),
        ({"round": 2}, Why.OTHER_TERMS),
        ({"federation": "other"}, Why.OTHER_TERMS),
        ({"threshold": 2}, Why.LOW_THRESHOLD),
    ],
)
def test_other_terms_than_were_announced_are_refused(
    places: dict[str, Place], changes: dict[str, object], why: Why
) -> None:
    (answer,) = give(places["pi-1"], call(terms_of(NAMES, **changes), places))
    assert isinstance(answer, Objection)
    assert answer.why == why


def test_a_larger_cohort_needs_the_promised_part_of_its_devices(places: dict[str, Place]) -> None:
    """All of four were promised, so more than three quarters. Of eight, six are what devices accept."""
    place, names = places["pi-1"], tuple(f"pi-{number}" for number in range(1, 9))
    place.promise(ROUND, cohort=4, threshold=4)
    for threshold, said in ((6, Why.LOW_THRESHOLD), (7, Why.BAD_SIGNATURE)):
        terms = terms_of(names, threshold=threshold)
        (answer,) = give(place, Call(terms=pack(terms), certificates=(b"0",) * 8))
        assert isinstance(answer, Objection)
        assert answer.why == said, "the certificates are looked at next"


@pytest.mark.parametrize("phase", range(5))
def test_a_restart_sends_the_same_bytes_again(places: dict[str, Place], phase: int) -> None:
    """The program ends after each phase. The same message of the server gets the same answer again."""
    terms = terms_of(NAMES)
    first = call(terms, places)
    state = server.begin(terms)
    mail: list[tuple[str, Message]] = [(name, first) for name in NAMES]
    for at in range(phase + 1):
        for name, message in mail:
            sent = give(places[name], message)
            if name == "pi-1" and at == phase:
                places[name].start()
                again = give(places[name], message)
                assert [pack(each) for each in again] == [pack(each) for each in sent]
                assert len(sent) == 1
                sent = again
            for answer in sent:
                assert isinstance(answer, MaskingMessage)
                state, _ = server.step(state, Arrived(name, answer), lambda *_: True)
        state, effects = server.step(state, PhaseOver(), lambda *_: True)
        mail = [(each.device, each.message) for each in effects if isinstance(each, SendTo)]


def test_an_older_copy_of_the_memory_leaves_the_attempt(places: dict[str, Place], tmp_path: Path) -> None:
    """The mark is apart from the memory: who puts an older copy of it back cannot be made to sign twice."""
    place = places["pi-1"]
    terms = terms_of(NAMES)
    give(place, call(terms, places))
    older = place.memory.masking()
    assert older is not None
    state = server.begin(terms)
    for name in NAMES:
        for answer in give(places[name], call(terms, places)):
            assert isinstance(answer, MaskingMessage)
            state, _ = server.step(state, Arrived(name, answer), lambda *_: True)
    state, effects = server.step(state, PhaseOver(), lambda *_: True)
    (roster,) = [each.message for each in effects if isinstance(each, SendTo) and each.device == "pi-1"]
    assert [type(each).__name__ for each in give(place, roster)] == ["Share"]
    place.memory.save_masking(older)
    place.start()
    (answer,) = give(place, call(terms, places))
    assert isinstance(answer, Objection)
    assert answer.why == Why.LEFT_ATTEMPT
