"""What every transport promises: the same checks on MQTT with a real Mosquitto, and on the virtual network.

Nothing here depends on how fast a broker answers: an answer counts when its event is handled, and that is
when a test asks for the next event.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedge.transport import Answered, LinkDown, LinkUp, MessageArrived, Publication, Sent, Transport
from fedge.transport.window import MOST_REPLIES, WINDOW
from fleet.demo import broker as brokers
from fleet.simulator.broker import RECEIVE_MAXIMUM
from tests.transport.networks import MqttNetwork, Network, VirtualNetwork
from tests.transport.peer import Peer

MQTT = pytest.param(
    "mqtt",
    marks=[
        pytest.mark.system,
        pytest.mark.skipif(not brokers._find_mosquitto(), reason="mosquitto is not installed"),
    ],
)
KEPT_S = 600


@pytest.fixture(params=["virtual", MQTT])
def network(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Network]:
    made: Network = VirtualNetwork() if request.param == "virtual" else MqttNetwork(tmp_path)
    yield made
    made.close()


def words(topic: str, payload: bytes = b"x") -> Publication:
    return Publication(topic, payload)


def payloads(messages: list[MessageArrived]) -> list[bytes]:
    return [message.payload for message in messages]


def numbered(count: int, begun: int = 0) -> list[Publication]:
    return [words("a", b"%d" % i) for i in range(begun, begun + count)]


def opened(network: Network, *names: str) -> list[Peer]:
    peers = [network.peer(name) for name in names]
    for peer in peers:
        peer.open()
    return peers


def test_it_is_a_transport(network: Network) -> None:
    (peer,) = opened(network, "one")
    link: Transport = peer.link  # mypy holds it to the protocol's signatures
    assert (link.up, link.spread_s, link.pulse.overdue_s()) == (True, 0.0, 0.0)


# ── sending ────────────────────────────────────────────────────────────────────────────────────────


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
    assert sent.refusal.startswith("big: a packet of ")
    assert f"the broker's limit of {limit}" in sent.refusal
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


# ── receiving ──────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_acknowledged_comes_again(network: Network) -> None:
    (writer,) = opened(network, "writer")
    keeper = network.peer("keeper", keep_session_s=KEPT_S, manual_ack=True)
    assert keeper.open() == LinkUp(1, session_present=False, max_packet=_limit(network))
    keeper.subscribe("a")
    writer.send(*numbered(3))
    first, second, _third = keeper.messages(3)
    keeper.link.acknowledge(first)
    keeper.subscribe("other")  # its answer comes behind the acknowledgement
    network.cut(keeper)
    keeper.wait_for(LinkDown)
    back = keeper.wait_for(LinkUp)
    assert back.session_present
    again = keeper.messages(2)
    assert payloads(again) == [b"1", b"2"]
    assert {message.connection for message in again} == {back.connection}
    keeper.link.acknowledge(second)  # of the connection before: it says nothing about this one's
    keeper.quiet()
    network.cut(keeper)
    keeper.wait_for(LinkDown)
    keeper.wait_for(LinkUp)
    again = keeper.messages(2)
    assert payloads(again) == [b"1", b"2"]
    for message in again:
        keeper.link.acknowledge(message)
    keeper.subscribe("other")
    network.cut(keeper)
    keeper.wait_for(LinkDown)
    keeper.wait_for(LinkUp)
    keeper.quiet()


def _limit(network: Network) -> int:
    return network.peer("asks").open().max_packet


def test_nothing_is_acknowledged_before_its_owner_says_so(network: Network) -> None:
    """The broker has only so many under way to one client: it holds the others back until then."""
    (writer,) = opened(network, "writer")
    keeper = network.peer("keeper", manual_ack=True)
    keeper.open()
    keeper.subscribe("a")
    writer.send(*numbered(50))
    held = keeper.messages(RECEIVE_MAXIMUM)
    keeper.quiet()
    for message in held:
        keeper.link.acknowledge(message)
    while len(held) < 50:
        held += keeper.messages(1)
        keeper.link.acknowledge(held[-1])
    assert payloads(held) == [b"%d" % i for i in range(50)]
    keeper.quiet()


def test_without_manual_ack_a_message_is_acknowledged_as_it_comes(network: Network) -> None:
    (writer,) = opened(network, "writer")
    reader = network.peer("reader", keep_session_s=KEPT_S)
    reader.open()
    reader.subscribe("a")
    writer.send(*numbered(50))
    assert payloads(reader.messages(50)) == [b"%d" % i for i in range(50)]
    reader.subscribe("other")
    network.cut(reader)
    reader.wait_for(LinkDown)
    assert reader.wait_for(LinkUp).session_present
    reader.quiet()


def test_unsubscribed_is_not_heard(network: Network) -> None:
    reader, writer = opened(network, "reader", "writer")
    reader.subscribe("a", "b")
    reader.link.unsubscribe("a")
    reader.subscribe("c")  # its answer comes behind the other one's
    writer.send(words("a"), words("b"), words("c"))
    assert [message.topic for message in reader.messages(2)] == ["b", "c"]
    reader.quiet()


# ── losing the connection, and coming back ─────────────────────────────────────────────────────────


def test_a_subscription_lasts_as_long_as_its_session(network: Network) -> None:
    (writer,) = opened(network, "writer")
    keeper, clean = network.peer("keeper", keep_session_s=KEPT_S), network.peer("clean")
    for peer, is_kept in ((keeper, True), (clean, False)):
        peer.open()
        peer.subscribe("a")
        network.cut(peer)
        peer.wait_for(LinkDown)
        assert not peer.link.up
        assert peer.wait_for(LinkUp).session_present is is_kept
        assert peer.link.up
    writer.send(words("a", b"still heard"))
    assert payloads(keeper.messages(1)) == [b"still heard"]
    clean.quiet()
    clean.subscribe("a")
    writer.send(words("a", b"heard again"))
    assert payloads(clean.messages(1)) == [b"heard again"]


def test_what_was_said_meanwhile_is_heard_after_the_return(network: Network) -> None:
    (writer,) = opened(network, "writer")
    keeper = network.peer("keeper", keep_session_s=KEPT_S)
    keeper.open()
    keeper.subscribe("a")
    keeper.link.close()
    writer.send(*numbered(3))
    assert keeper.open().session_present
    assert payloads(keeper.messages(3)) == [b"0", b"1", b"2"]


def test_it_comes_back_after_the_broker_died_and_repeats_nothing_by_itself(network: Network) -> None:
    (writer,) = opened(network, "writer")
    network.freeze()
    lost = [Publication(f"lost/{i}", b"x", retain=True) for i in range(2 * WINDOW)]
    writer.link.send(lost, "lost")
    writer.link.reply(words("lost/reply"))
    network.stop()
    down = writer.wait_for(LinkDown)
    assert down.reason
    assert not down.unauthorized
    assert not writer.link.up
    network.start()
    event = writer.next()
    while not isinstance(event, LinkUp):  # it may have tried before the broker was there
        assert not isinstance(event, Sent), "nobody has answered"
        event = writer.next()
    assert event.connection > 1
    assert writer.send(Publication("said/again", b"x", retain=True)) == Sent("all", None)
    (reader,) = opened(network, "reader")
    reader.link.subscribe("lost/+", "said/+")
    assert [message.topic for message in reader.messages(1)] == ["said/again"]
    reader.quiet()


def test_without_a_broker_it_tries_until_there_is_one(network: Network) -> None:
    network.stop()
    early = network.peer("early")
    early.link.open()
    assert early.wait_for(LinkDown).reason
    network.start()
    assert early.wait_for(LinkUp).connection > 1
    assert early.send(words("a")) == Sent("all", None)


def test_while_it_is_down_nothing_is_sent(network: Network) -> None:
    reader, writer = network.peer("reader"), network.peer("writer")
    reader.open()
    reader.subscribe("a")

    def try_all(payload: bytes) -> None:
        writer.link.send([words("a", payload)], "token")
        writer.link.reply(words("a", payload))
        writer.link.subscribe("a")
        writer.link.unsubscribe("a")
        writer.link.acknowledge(MessageArrived("a", b"", False, None, 1, 1))

    try_all(b"before it was opened")
    writer.open()
    writer.link.handle(LinkDown("lost"))
    assert not writer.link.up
    try_all(b"while down")
    writer.quiet()
    assert writer.link.traffic.sent == 0
    reader.quiet()


def test_the_will_is_for_those_who_did_not_say_goodbye(network: Network) -> None:
    (reader,) = opened(network, "reader")
    reader.subscribe("status")
    device = network.peer("device", will=lambda connection: words("status", b"will of %d" % connection))
    device.open()
    device.link.close(words("status", b"last words"))
    assert payloads(reader.messages(1)) == [b"last words"]
    reader.quiet()
    connection = device.open().connection
    network.cut(device)
    device.wait_for(LinkDown)
    assert payloads(reader.messages(1)) == [b"will of %d" % connection]
    assert device.wait_for(LinkUp).connection > connection
    reader.quiet()


def test_a_client_id_that_is_taken_over_comes_back(network: Network) -> None:
    one, other = network.peer("same"), network.peer("same")
    one.open()
    other.open()
    one.wait_for(LinkDown)
    assert one.wait_for(LinkUp).connection == 2
    other.wait_for(LinkDown)
    other.link.close()
    assert one.send(words("a")) == Sent("all", None)


def test_close_and_open_again(network: Network) -> None:
    (reader,) = opened(network, "reader")
    reader.subscribe("a")
    device = network.peer("device")
    for connection in range(1, 4):
        assert device.open().connection == connection
        device.subscribe("a")
        assert device.send(words("a", b"%d" % connection)).refusal is None
        assert payloads(device.messages(1)) == payloads(reader.messages(1)) == [b"%d" % connection]
        device.link.close()
        assert not device.link.up
        device.link.close(words("a", b"twice is once"))
        device.quiet(0.05)
    reader.quiet()


def test_a_link_up_from_before_a_close_changes_nothing(network: Network) -> None:
    device = network.peer("device")
    up = device.open()
    device.link.close()
    device.link.handle(up)
    assert not device.link.up
    device.link.send([words("a")], "token")
    device.quiet()
    device.open()
    device.link.handle(LinkUp(up.connection, False, 10**6))
    assert not device.link.up, "another connection than the newest"
