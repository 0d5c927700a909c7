"""The window: how many publications and bytes are under way, their order, and how large a packet may be."""

from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.transport import Answered, LinkUp, Publication, Sent
from fedge.transport.events import PACED
from fedge.transport.outbound import Outbound
from fedge.transport.pace import Pace
from fedge.transport.packets import LARGEST_PACKET, packet_bytes, payload_room
from fedge.transport.protocol import Connection
from fedge.transport.window import IN_FLIGHT_BYTES, WINDOW, Limits, Window
from fedge.wire.encoding import MAX_PAYLOAD
from tests.transport.contract import words
from tests.wording import assert_tells

FRAME = 129_106
"""The payload of the largest frame."""


class Line:
    """A broker that answers when it is told to; `under_way` has what it has not answered, oldest first."""

    def __init__(self, limits: Limits | None = None, pace: Pace | None = None) -> None:
        self.under_way: deque[tuple[int, Publication]] = deque()
        self.sent: list[Publication] = []
        self.told: list[Sent] = []
        self.window = Window(self._publish, self.told.append, limits or Limits(), pace)

    def _publish(self, publication: Publication) -> int:
        self.sent.append(publication)
        self.under_way.append((len(self.sent), publication))
        return len(self.sent)

    @property
    def bytes_under_way(self) -> int:
        return sum(packet_bytes(piece.topic, len(piece.payload)) for _, piece in self.under_way)

    def answer(self, refusal: str | None = None) -> None:
        self.window.settle(Answered(self.under_way.popleft()[0], refusal))

    def answer_all(self) -> None:
        while self.under_way:
            self.answer()


def frames(count: int, size: int = FRAME) -> list[Publication]:
    return [words(f"model/0/{i}", bytes(size)) for i in range(count)]


# ── the size of a packet ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("payload", "expires", "size"),
    [
        # type 1, length field, topic 2 + 1, identifier 2, length of the properties 1, payload
        (0, False, 1 + 1 + 6),
        (0, True, 1 + 1 + 6 + 5),
        (121, False, 1 + 1 + 127),  # 127 is the largest length in one byte
        (122, False, 1 + 2 + 128),
        (16_377, False, 1 + 2 + 16_383),
        (16_378, False, 1 + 3 + 16_384),
        (2_097_146, False, 1 + 4 + 2_097_152),
    ],
)
def test_the_size_of_a_packet(payload: int, expires: bool, size: int) -> None:
    assert packet_bytes("a", payload, expires=expires) == size


@given(st.text(st.characters(codec="utf-8"), max_size=200), st.integers(10, LARGEST_PACKET), st.booleans())
def test_the_room_is_the_largest_payload_that_fits(topic: str, most: int, expires: bool) -> None:
    room = payload_room(topic, most, expires=expires)
    if room < 0:
        assert packet_bytes(topic, 0, expires=expires) > most
    else:
        assert packet_bytes(topic, room, expires=expires) <= most
        assert room == 268_435_455 - 5 - len(topic.encode()) - 5 * expires or (
            packet_bytes(topic, room + 1, expires=expires) > most
        )


def test_a_payload_over_the_setting_is_refused_and_says_which_setting() -> None:
    line = Line(Limits(max_payload=5_000))
    line.window.send([words("a", bytes(5_000)), words("a", bytes(5_001)), words("b")], "all")
    line.answer_all()
    assert [len(piece.payload) for piece in line.sent] == [5_000]
    (sent,) = line.told
    assert sent.refusal is not None
    assert_tells(sent.refusal, "a: ", "5001", "[broker] max_payload_bytes", "5000")


# ── how much is under way ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("granted", "most"), [(1, 1), (5, 5), (20, WINDOW), (65_535, WINDOW)])
def test_the_receive_maximum_of_the_broker_is_kept(granted: int, most: int) -> None:
    line = Line(Limits(receive_maximum=granted))
    line.window.send([words("a", b"%d" % i) for i in range(40)], "all")
    line.window.send(frames(3, 10), "frames", bulk=True)
    for i in range(40):
        line.window.reply(words(f"reply/{i}"))
    assert len(line.under_way) == most
    seen = set()
    while line.under_way:
        seen.add(len(line.under_way))
        line.answer()
    assert max(seen) == most
    assert len(line.sent) == 40 + 3 + 40
    assert [sent.token for sent in line.told] == ["all", "frames"]


def test_no_more_than_two_large_frames_are_under_way() -> None:
    line = Line()
    line.window.send(frames(50), "model", bulk=True)
    most = 0
    while line.under_way:
        most = max(most, line.bytes_under_way)
        assert len(line.under_way) <= 2
        line.answer()
    assert len(line.sent) == 50
    assert line.told == [Sent("model", None)]
    packet = packet_bytes("model/0/10", FRAME)
    assert most == 2 * packet < IN_FLIGHT_BYTES + MAX_PAYLOAD + 64


def test_small_frames_fill_the_window() -> None:
    line = Line()
    line.window.send(frames(50, 1_000), "model", bulk=True)
    assert len(line.under_way) == WINDOW


# ── the order ──────────────────────────────────────────────────────────────────────────────────────


def test_a_message_does_not_wait_behind_a_large_one() -> None:
    line = Line()
    line.window.send(frames(50), "model", bulk=True)
    line.window.send([words("service")], None)
    assert [piece.topic for piece in line.sent] == ["model/0/0", "model/0/1", "service"]
    line.window.send(frames(2), "export", bulk=True)
    line.window.send([words("round")], None)
    line.answer_all()
    assert line.sent[3].topic == "round"
    assert [sent.token for sent in line.told] == ["model", "export"], "bulk batches keep their order"


def test_between_frames_one_reply_goes_after_each() -> None:
    line = Line(Limits(receive_maximum=1))
    line.window.send(frames(4), "model", bulk=True)
    for i in range(6):
        line.window.reply(words(f"reply/{i}"))
    line.answer_all()
    assert [piece.topic[0] for piece in line.sent] == list("mrmrmrmrrr")


def test_a_refused_bulk_batch_ends_and_the_next_one_goes() -> None:
    line = Line()
    pulled: list[int] = []

    def pieces() -> Iterator[Publication]:
        for i in range(10):
            pulled.append(i)
            yield words(f"model/0/{i}", bytes(FRAME))

    line.window.send(pieces(), "model", bulk=True)
    line.window.send(frames(1), "export", bulk=True)
    line.answer("Quota exceeded")
    line.answer_all()
    assert pulled == [0, 1]
    assert line.told == [Sent("model", "Quota exceeded"), Sent("export", None)]


# ── the pace ───────────────────────────────────────────────────────────────────────────────────────


class Paced(Line):
    """A line with a pace and a clock; the broker answers at once."""

    def __init__(self, publishes_per_s: float | None, bytes_per_s: float | None) -> None:
        self.now_s = 100.0
        self.timers: list[float] = []
        self.when: list[tuple[float, int]] = []
        pace = Pace(publishes_per_s, bytes_per_s, lambda: self.now_s, self._later)
        super().__init__(pace=pace)

    def _later(self, seconds: float) -> None:
        self.timers.append(self.now_s + seconds)

    def _publish(self, publication: Publication) -> int:
        self.when.append((self.now_s, packet_bytes(publication.topic, len(publication.payload))))
        return super()._publish(publication)

    def go(self) -> None:
        self.answer_all()
        while self.timers:
            assert len(self.timers) == 1, "one timer is enough"
            self.now_s = max(self.now_s, self.timers.pop())
            self.window.settle(PACED)
            self.answer_all()


def in_any_second(when: list[tuple[float, int]]) -> tuple[int, int]:
    """The most publications and bytes that begin within one second."""
    spans = [[size for then, size in when if start <= then < start + 1 - 1e-9] for start, _ in when]
    return max(len(sizes) for sizes in spans), max(sum(sizes) for sizes in spans)


def test_publications_keep_the_pace_in_any_second() -> None:
    line = Paced(20, None)
    line.window.send([words("a", b"%d" % i) for i in range(50)], "all")
    for i in range(5):
        line.window.reply(words(f"reply/{i}"))
    line.go()
    assert line.told == [Sent("all", None)]
    assert len(line.sent) == 55
    assert in_any_second(line.when)[0] == 20
    assert line.when[-1][0] - 100.0 == pytest.approx(54 / 20)


def test_bytes_keep_the_pace_and_a_pause_earns_nothing() -> None:
    line = Paced(None, 512_000)
    line.window.send(frames(20), "model", bulk=True)
    line.go()
    line.now_s += 3_600
    line.window.send(frames(20), "export", bulk=True)
    line.go()
    packet = packet_bytes("model/0/10", FRAME)
    # 3.96 packets a second: the fourth one begins .757 s after the first.
    assert in_any_second(line.when)[1] == 4 * packet
    assert len(line.sent) == 40


def test_a_timer_that_comes_early_is_set_again() -> None:
    line = Paced(10, None)
    line.window.send([words("a"), words("b")], "all")
    assert len(line.sent) == 1
    line.timers.clear()
    line.window.settle(PACED)
    assert (len(line.sent), len(line.timers)) == (1, 1)
    line.go()
    assert len(line.sent) == 2


def test_a_timer_that_ends_between_two_connections_leaves_the_next_one_its_own() -> None:
    now_s, timers, sent = 100.0, list[float](), list[Publication]()

    def publish(publication: Publication) -> int:
        sent.append(publication)
        return len(sent)

    link = Outbound(lambda _: None, pace=Pace(1, None, lambda: now_s, timers.append))
    for number in (1, 2):
        connection = cast(Connection, SimpleNamespace(number=number, publish=publish))
        link.begin(connection, LinkUp(number, False, LARGEST_PACKET))
        link.send([words("a"), words("b"), words("c")])
        assert len(timers) == number, "each connection sends one, and then waits"
        link.end()
        now_s += 1.0
        link.settle(PACED)
    assert [piece.topic for piece in sent] == ["a", "a"]
