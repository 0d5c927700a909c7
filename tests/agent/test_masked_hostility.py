"""A server that sends any of its messages at any time: a device refuses with a reason, in bounded work.

What it may answer with is an objection or its newest message again; nothing that it sends depends on a lie.
"""

import contextlib
import logging
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.shell import masked_rounds
from fedge.errors import ProtocolError
from fedge.masking import server
from fedge.masking.device_state import Stage
from fedge.masking.messages import (
    Advertise,
    Agreement,
    Consistency,
    Delivery,
    MaskedInput,
    MaskingMessage,
    Roster,
    Share,
    Survivors,
    Unmask,
)
from fedge.masking.refusals import Why
from fedge.masking.round_messages import Call, Objection
from fedge.masking.server_state import Arrived, PhaseOver, SendTo
from fedge.wire.frames import split
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import unpack_frame
from fedge.wire.messages.message import Message, pack
from tests.agent.masked_places import Place, call, federation, new_places, terms_of
from tests.fedge.message_examples import EXAMPLES

NAMES = ("pi-1", "pi-2", "pi-3", "pi-4")
ANSWERS = (Advertise, Share, MaskedInput, Consistency, Unmask)
PHASES = len(ANSWERS)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return federation(tmp_path_factory.mktemp("federation"), NAMES)


@pytest.fixture
def places(homes: dict[str, Path]) -> dict[str, Place]:
    return new_places(homes)


def give(place: Place, payload: bytes) -> list[Message]:
    """Let bytes arrive in frames; what the device sends."""
    place.sent.clear()
    for piece in split(payload, 1_500):
        place.rounds.take(unpack_frame(piece))
    return list(place.sent)


def phases(places: dict[str, Place]) -> Iterator[dict[str, Message]]:
    """An honest attempt: by device what the server sends in each phase; then all of them answer."""
    terms = terms_of(NAMES)
    state = server.begin(terms)
    mail: dict[str, Message] = dict.fromkeys(NAMES, call(terms, places))
    while mail:
        yield mail
        for name, message in mail.items():
            for answer in give(places[name], pack(message)):
                assert isinstance(answer, MaskingMessage)
                state, _ = server.step(state, Arrived(name, answer), lambda *_: True)
        state, effects = server.step(state, PhaseOver(), lambda *_: True)
        mail = {each.device: each.message for each in effects if isinstance(each, SendTo)}


def lies(places: dict[str, Place], honest: dict[str, Message], rng: random.Random | None) -> Iterator[bytes]:
    """What a server may say besides the honest message for pi-1; `rng`: changes bytes of that one, too."""
    terms = terms_of(NAMES)
    own = honest["pi-1"]
    for message in EXAMPLES.values():
        yield pack(message)
    digest = getattr(own, "terms", bytes(32))
    digest = digest if isinstance(own, MaskingMessage) else bytes(32)
    full, long = b"\xff" * 125, bytes(60_000)
    for members in (b"\x00", b"\x01", b"\x0f", b"\xff", full):
        yield pack(Roster(terms=digest, members=members, advertised=bytes(96_000), signatures=bytes(64_000)))
        yield pack(Delivery(terms=digest, sharers=members, sealed=long))
        yield pack(Survivors(terms=digest, alive=members, dead=members, signatures=long))
        yield pack(Agreement(terms=digest, signers=members, signatures=long))
    for certificates in ((), (b"x",) * 4, (b"\x30\x80" * 2_000,) * 4, (b"x",) * 1_000):
        yield pack(Call(terms=pack(terms), certificates=certificates))
    yield pack(Call(terms=b"\xc1" * 1_000, certificates=(b"x",)))
    many = terms_of(tuple(f"d{at:04d}" for at in range(1_000)), max_weight=2**20, value_bits=16)
    yield pack(Call(terms=pack(many), certificates=(b"x",) * 1_000))
    whole = pack(own)
    for _ in range(60 if rng is not None else 0):
        assert rng is not None
        at = rng.randrange(len(whole))
        yield whole[:at] + rng.randbytes(rng.randint(1, 4)) + whole[at + rng.randint(0, 3) :]
        yield whole[:at]


@pytest.mark.parametrize("phase", range(PHASES), ids=[kind.TYPE for kind in ANSWERS])
def test_whatever_a_server_sends_and_when_the_device_says_one_thing_in_a_phase(
    places: dict[str, Place], phase: int
) -> None:
    """Of a delivery, a share may be altered, and the device goes on; so it does if its own signature in the
    roster or in the agreement is. All else is refused, or answered with what it has said."""
    place, reasons, told, said = places["pi-1"], set[str](), set[str](), list[Message]()
    for at, honest in enumerate(phases(places)):
        if at != phase:
            continue
        newest = place.rounds._loaded().attempt
        known = [] if newest is None else [newest.sent]
        for payload in lies(places, honest, random.Random(phase)):
            if payload == pack(honest["pi-1"]):
                continue
            try:
                sent = give(place, payload)
            except ProtocolError as error:
                reasons.add(str(error))
                continue
            told |= {message.why for message in sent if isinstance(message, Objection)}
            said += [each for each in sent if not isinstance(each, Objection) and each not in known + said]
        break
    assert len(reasons) > 5
    assert "" not in reasons
    assert told <= {why.value for why in Why}
    assert told
    assert [type(each) for each in said] in ([], [ANSWERS[phase]])
    assert not said or ANSWERS[phase] in (Share, MaskedInput, Unmask)


@pytest.mark.parametrize("phase", range(PHASES), ids=[kind.TYPE for kind in ANSWERS])
def test_lies_of_other_kinds_and_lengths_do_not_keep_it_from_the_truth(
    places: dict[str, Place], phase: int
) -> None:
    place = places["pi-1"]
    for at, honest in enumerate(phases(places)):
        if at == phase:
            before = place.memory.masking()
            for payload in lies(places, honest, None):
                with contextlib.suppress(ProtocolError):
                    give(place, payload)
            assert place.memory.masking() == before
    attempt = place.rounds._loaded().attempt
    assert attempt is not None
    assert attempt.stage is Stage.REVEALED


def test_messages_before_a_promise_and_of_another_attempt(places: dict[str, Place]) -> None:
    place = places["pi-1"]
    place.agent.manifest = None
    assert give(place, pack(call(terms_of(NAMES), places))) == []
    for name in ("masking_roster", "masking_delivery", "masking_survivors", "masking_agreement"):
        for answer in give(place, pack(EXAMPLES[name])):
            assert isinstance(answer, Objection)
    assert place.memory.masking() is None


def test_an_update_of_a_later_round_is_not_masked_for_the_terms_of_an_earlier_one(
    places: dict[str, Place],
) -> None:
    """Between roster and delivery the server opens another round, for which the device promises an update."""
    for at, honest in enumerate(phases(places)):
        if at == 2:
            places["pi-1"].promise(RoundId(1, 2))
            (answer,) = give(places["pi-1"], pack(honest["pi-1"]))
            assert isinstance(answer, Objection)
            assert answer.why == Why.OTHER_TERMS
            assert "another round" in answer.detail
            return
    raise AssertionError("no delivery")


def test_a_server_that_repeats_itself_fills_no_log(
    places: dict[str, Place], caplog: pytest.LogCaptureFixture
) -> None:
    place = places["pi-1"]
    caplog.set_level(logging.INFO)
    for attempt in range(200):
        (answer,) = give(place, pack(call(terms_of(NAMES, attempt=attempt, base=bytes(32)), places)))
        assert isinstance(answer, Objection)
    assert len(caplog.records) == 1


def test_messages_that_are_begun_and_never_ended_are_bounded(places: dict[str, Place]) -> None:
    place, refused = places["pi-1"], 0
    for number in range(200):
        pieces = split(number.to_bytes(4) + bytes(100_000), 50_000)
        try:
            place.rounds.take(unpack_frame(pieces[0]))
        except ProtocolError:
            refused += 1
    assert refused > 100
    assert place.rounds._assembler.held <= masked_rounds.ROOM
    place.rounds.begin_connection()
    assert place.rounds._assembler.held == 0
