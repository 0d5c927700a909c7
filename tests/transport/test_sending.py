"""What every transport promises of sending, on MQTT with a real Mosquitto and on the virtual network.

Nothing here depends on how fast a broker answers: an answer counts when its event is handled, and that is
when a test asks for the next event.
"""

from collections.abc import Iterator

from fedge.transport import Answered, Publication, Sent, Transport
from fedge.transport.window import MOST_REPLIES, WINDOW
from tests.transport.contract import network, numbered, opened, payloads, words
from tests.transport.networks import Network
from tests.wording import assert_tells

__all__ = ["network"]


def test_it_is_a_transport(network: Network) -> None:
    (peer,) = opened(network, "one")
    link: Transport = peer.link  # mypy holds it to the protocol's signatures
    assert (link.up, link.spread_s, link.pulse.overdue_s()) == (True, 0.0, 0.0)


def test_publications_arrive_in_order_and_are_answered_once(network: Network) -> None:
    reader, writer = opened(network, "reader", "writer")
    reader.subscribe("a")
    token = object()
    writer.link.send(numbered(5 * WINDOW), token)
    writer.link.send([words("a", b"last")], "last")
    assert [writer.wait_for(Sent), writer.wait_for(Sent)] == [Sent(token, None), Sent("last", None)]
    arrived = reader.messages(5 * WINDOW + 1)
    assert payloads(arrived) == [*(b"%d" % i for i in range(5 * WINDOW)), b"last"]
    assert {message.connection for message in arrived} == {1}
    writer.quiet()
    reader.quiet()


def test_a_send_without_a_token_says_nothing_when_all_is_well(network: Network) -> None:
    (writer,) = opened(network, "writer")
    writer.link.send(numbered(2))
    writer.link.send([])
    assert writer.send(words("a"), token=1) == Sent(1, None)
    assert writer.send(token=2) == Sent(2, None)
    writer.quiet()


def test_publications_are_pulled_only_as_there_is_room(network: Network) -> None:
    reader, writer = opened(network, "reader", "writer")
    reader.subscribe("a")
    pulled: list[int] = []

    def pieces() -> Iterator[Publication]:
        for i in range(3 * WINDOW):
            pulled.append(i)
            yield words("a", b"%d" % i)

    writer.link.send(pieces(), "all")
    assert len(pulled) == WINDOW, "no answer has been handled yet"
    for count in range(1, 2 * WINDOW + 1):
        writer.wait_for(Answered)
        assert len(pulled) == WINDOW + count
    assert writer.wait_for(Sent) == Sent("all", None)
    assert len(reader.messages(3 * WINDOW)) == 3 * WINDOW


def test_replies_wait_for_what_is_sent_and_the_newest_of_a_topic_counts(network: Network) -> None:
    reader, writer = opened(network, "reader", "writer")
    reader.subscribe("a", "reply/+")
    writer.link.send(numbered(WINDOW))  # until the first answer is handled there is no room
    for i in range(3):
        for payload in (b"old", b"new"):
            writer.link.reply(words(f"reply/{i}", payload))
    writer.link.send([words("a", b"beat")])
    arrived = reader.messages(WINDOW)
    for _ in range(WINDOW + 4):
        writer.wait_for(Answered)
    arrived += reader.messages(4)
    assert payloads(arrived)[WINDOW:] == [b"beat", b"new", b"new", b"new"]
    assert [message.topic for message in arrived[-3:]] == ["reply/0", "reply/1", "reply/2"]
    writer.quiet()
    reader.quiet()


def test_replies_are_bounded(network: Network) -> None:
    (writer,) = opened(network, "writer")
    writer.link.send(numbered(WINDOW))
    sent = writer.link.traffic.sent
    for i in range(MOST_REPLIES + 10):
        writer.link.reply(words(f"reply/{i:05}"))
    assert writer.link.traffic.sent == sent, "all of them wait"
    for _ in range(WINDOW + MOST_REPLIES):
        writer.wait_for(Answered)
    assert writer.link.traffic.sent - sent == MOST_REPLIES * len("reply/00000x")
    writer.quiet()


def test_a_packet_over_the_brokers_limit_is_refused_and_the_rest_of_its_batch_not_sent(
    network: Network,
) -> None:
    reader, writer = network.peer("reader"), network.peer("writer")
    reader.open()
    limit = writer.open().max_packet
    reader.subscribe("a", "big", "b")
    sent = writer.send(words("a"), words("big", bytes(limit)), words("b"))
    assert sent.refusal is not None
    assert_tells(sent.refusal, "big: ", str(limit))
    assert writer.send(words("a", b"after")) == Sent("all", None)
    assert payloads(reader.messages(2)) == [b"x", b"after"]
    reader.quiet()


def test_what_is_retained_is_told_and_its_expiry_counted(network: Network) -> None:
    reader, writer = opened(network, "reader", "writer")
    reader.subscribe("kept")
    writer.send(Publication("kept", b"x", retain=True, expiry_s=600))
    (live,) = reader.messages(1)
    assert not live.retained
    assert live.expiry_left_s in range(500, 601)
    (late,) = opened(network, "late")
    late.link.subscribe("kept")
    (message,) = late.messages(1)
    assert message.retained
    assert message.expiry_left_s in range(500, 601)
    writer.send(Publication("kept", b"", retain=True))
    (later,) = opened(network, "later")
    later.subscribe("kept")
    later.quiet()


def test_traffic_is_counted_by_topics_and_payloads(network: Network) -> None:
    reader, writer = opened(network, "reader", "writer")
    reader.subscribe("abc")
    writer.send(words("abc", bytes(100)), words("other", bytes(50)))
    reader.messages(1)
    assert (writer.link.traffic.sent, writer.link.traffic.received) == (3 + 100 + 5 + 50, 0)
    assert (reader.link.traffic.sent, reader.link.traffic.received) == (0, 3 + 100)
