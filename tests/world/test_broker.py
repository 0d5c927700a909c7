"""The virtual broker keeps MQTT 5's promises, and no more than these."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fedge.transport import Publication
from fleet.simulator.broker import RECEIVE_MAXIMUM, Broker
from fleet.simulator.clock import Clock
from fleet.simulator.sessions import Message


@dataclass(eq=False)
class Client:
    """A line that keeps what comes down."""

    got: list[Message] = field(default_factory=list)
    mids: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    ended: list[bool] = field(default_factory=list)
    whole: bool = True

    def deliver(self, mid: int, message: Message) -> None:
        self.mids.append(mid)
        self.got.append(message)

    def answer(self, mid: int, *, subscription: bool) -> None:
        self.answers.append(mid)

    def end(self, *, taken_over: bool) -> None:
        self.ended.append(taken_over)

    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.got]


class Town:
    """A broker and its clock."""

    def __init__(self, queue_limit: int = 1_000) -> None:
        self.clock = Clock()
        self.broker = Broker(lambda: self.clock.now_s, self.clock.after, lambda _: None, queue_limit)

    def client(
        self, name: str, *filters: str, keep_s: int = 0, will: Publication | None = None
    ) -> tuple[Client, bool]:
        client = Client()
        present = self.broker.connect(client, name, keep_s, will)
        self.broker.accepted(client)
        if filters:
            self.broker.subscribe(client, 1, list(filters))
        return client, present

    def say(self, topic: str, payload: bytes, *, retain: bool = False, expiry_s: int | None = None) -> None:
        client, _ = self.client("speaker")
        self.broker.publish(client, 1, Publication(topic, payload, retain, expiry_s))

    def wait(self, seconds: float, then: Callable[[], None] = lambda: None) -> None:
        self.clock.after(seconds, then)
        end_s = self.clock.now_s + seconds
        while self.clock.now_s < end_s and self.clock.step():
            pass


WILL = Publication("status/a", b"offline", retain=True)


def test_a_retained_message_waits_and_its_expiry_counts_down() -> None:
    town = Town()
    town.say("round", b"open", retain=True, expiry_s=100)
    town.wait(30.5)
    client, _ = town.client("a", "round")
    assert (client.got[0].retained, client.got[0].left_s(town.clock.now_s)) == (True, 69)
    town.wait(70)
    late, _ = town.client("b", "round")
    assert late.got == []


def test_an_empty_payload_erases_what_is_retained() -> None:
    town = Town()
    town.say("round", b"open", retain=True)
    town.say("round", b"", retain=True)
    assert town.client("a", "round")[0].got == []


def test_who_is_subscribed_gets_a_message_as_new() -> None:
    town = Town()
    client, _ = town.client("a", "model/0/+")
    town.say("model/0/3", b"x", retain=True)
    town.say("model/1/3", b"y", retain=True)
    assert client.payloads() == [b"x"]
    assert not client.got[0].retained
    town.broker.unsubscribe(client, ["model/0/+"])
    town.say("model/0/3", b"z")
    assert client.payloads() == [b"x"]


def test_a_client_that_does_not_acknowledge_is_sent_so_many_and_then_one_for_each() -> None:
    town = Town()
    client, _ = town.client("a", "t")
    for i in range(30):
        town.say("t", b"%d" % i)
    assert len(client.got) == RECEIVE_MAXIMUM
    town.broker.acknowledge(client, client.mids[5])
    assert client.payloads()[-1] == b"20"


def test_a_full_queue_drops_without_a_word() -> None:
    town = Town(queue_limit=3)
    client, _ = town.client("a", "t", keep_s=100)
    town.broker.lose(client)
    for i in range(5):
        town.say("t", b"%d" % i)
    again, present = town.client("a", keep_s=100)
    assert present
    assert again.payloads() == [b"0", b"1", b"2"]


def test_a_session_gets_what_it_had_not_acknowledged_again_and_in_order() -> None:
    town = Town()
    client, _ = town.client("a", "t", keep_s=100)
    for payload in (b"1", b"2", b"3"):
        town.say("t", payload)
    town.broker.acknowledge(client, client.mids[1])
    town.broker.lose(client)
    town.say("t", b"4")
    again, present = town.client("a", keep_s=100)
    assert present
    assert again.payloads() == [b"1", b"3", b"4"]
    town.broker.acknowledge(client, client.mids[0])  # on a connection that is gone: nothing
    assert len(town.broker.sessions["a"].under_way) == 3


def test_a_session_ends_after_its_expiry_and_a_clean_one_at_once() -> None:
    town = Town()
    for keep_s, waited_s, kept in ((100, 99.0, True), (100, 101.0, False), (0, 0.0, False)):
        client, _ = town.client("a", "t", keep_s=keep_s)
        town.broker.lose(client)
        town.wait(waited_s)
        again, present = town.client("a", keep_s=keep_s)
        assert present is kept
        town.broker.leave(again)
        town.broker.sessions.clear()


def test_a_will_is_said_unless_the_client_says_goodbye() -> None:
    town = Town()
    client, _ = town.client("a", will=WILL)
    town.broker.leave(client)
    assert "status/a" not in town.broker.retained
    client, _ = town.client("a", will=WILL)
    town.broker.lose(client)
    assert town.broker.retained["status/a"].payload == b"offline"


def test_a_will_may_be_late_and_stand_as_the_last_word() -> None:
    town = Town()
    town.broker.will_delay_s = 10.0
    client, _ = town.client("a", will=WILL)
    town.broker.lose(client)
    town.say("status/a", b"online", retain=True)
    town.wait(11.0)
    assert town.broker.retained["status/a"].payload == b"offline"


def test_a_second_client_of_one_name_takes_over_and_the_firsts_will_is_said() -> None:
    town = Town()
    first, _ = town.client("a", "t", will=WILL)
    second, _ = town.client("a", "t")
    assert first.ended == [True]
    assert "status/a" in town.broker.retained
    town.say("t", b"x")
    assert (first.payloads(), second.payloads()) == ([], [b"x"])
    town.broker.lose(first)  # of a connection that is gone: nothing
    assert town.broker.sessions["a"].line is second


def test_a_restart_has_what_the_disk_has_and_says_no_wills() -> None:
    town = Town()
    town.say("round", b"old", retain=True)
    client, _ = town.client("a", "t", keep_s=100, will=WILL)
    saved = town.broker.save()
    town.say("round", b"new", retain=True)
    town.broker.stop()
    assert client.ended == [False]
    town.broker.start(saved)
    assert town.broker.retained["round"].payload == b"old"
    assert "status/a" not in town.broker.retained
    assert town.client("a", keep_s=100)[1]
    town.broker.stop()
    town.broker.start(None)
    assert town.broker.retained == {}
    assert not town.client("a", keep_s=100)[1]


def test_at_least_once_may_be_twice() -> None:
    town = Town()
    client, _ = town.client("a", "t")
    town.broker.says_twice = lambda: True
    town.say("t", b"x")
    assert client.payloads() == [b"x", b"x"]
