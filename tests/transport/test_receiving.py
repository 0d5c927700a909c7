"""What every transport promises of receiving: messages are acknowledged when their owner says so."""

from fedge.transport import LinkDown, LinkUp
from fleet.simulator.broker import RECEIVE_MAXIMUM
from tests.transport.contract import KEPT_S, network, numbered, opened, payloads, words
from tests.transport.networks import Network

__all__ = ["network"]


def test_what_is_not_acknowledged_comes_again(network: Network) -> None:
    (writer,) = opened(network, "writer")
    keeper = network.peer("keeper", keep_session_s=KEPT_S, manual_ack=True)
    up = keeper.open()
    assert (up.connection, up.session_present, up.max_packet) == (1, False, _limit(network))
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
