"""What every transport promises of its connection: it comes back when it is lost."""

from fedge.transport import LinkDown, LinkUp, MessageArrived, Publication, Sent
from fedge.transport.window import WINDOW
from tests.transport.contract import KEPT_S, network, numbered, opened, payloads, words
from tests.transport.networks import Network

__all__ = ["network"]


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
