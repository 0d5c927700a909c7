"""Both brokers we start keep the promises of MQTT 5 that the protocol rests on."""

import contextlib
import importlib.util
import queue
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from fedge.errors import ConfigError, FedgeError
from fleet.demo import broker as brokers

Messages = "queue.Queue[mqtt.MQTTMessage]"


@contextlib.contextmanager
def client(
    broker: brokers.Broker, name: str, *, keep: bool = False
) -> Iterator[tuple[mqtt.Client, Messages]]:
    messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
    connected: queue.Queue[bool] = queue.Queue()
    link = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5)
    link.on_message = lambda _client, _data, message: messages.put(message)
    link.on_connect = lambda _client, _data, flags, _code, _properties: connected.put(flags.session_present)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 600 if keep else 0
    link.will_set(f"will/{name}", b"gone", qos=1, retain=True)
    link.connect("127.0.0.1", int(broker.url.rsplit(":", 1)[1]), clean_start=not keep, properties=properties)
    link.loop_start()
    try:
        link.user_data_set(connected.get(timeout=60))
        yield link, messages
    finally:
        link.disconnect()
        link.loop_stop()


def wait_until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.005)


def publish(
    link: mqtt.Client, topic: str, payload: bytes, *, retain: bool = False, expiry_s: int = 0
) -> None:
    properties = Properties(PacketTypes.PUBLISH)
    if expiry_s:
        properties.MessageExpiryInterval = expiry_s
    link.publish(topic, payload, 1, retain, properties).wait_for_publish(60)


@pytest.mark.system
def test_retained_messages_wills_and_expiry(kind: str, tmp_path: Path) -> None:
    with brokers.start(kind, tmp_path) as broker:
        assert broker.name == kind
        assert broker.url.startswith("mqtt://127.0.0.1:")
        with client(broker, "a") as (a, _):
            publish(a, "kept", b"x" * 200_000, retain=True, expiry_s=600)
            publish(a, "cleared", b"x", retain=True)
            publish(a, "cleared", b"", retain=True)
            a.socket().close()  # type: ignore[union-attr]
        with client(broker, "b") as (b, messages):
            b.subscribe([("kept", 1), ("cleared", 1), ("will/a", 1)])
            found: dict[str, mqtt.MQTTMessage] = {}
            while found.keys() < {"kept", "will/a"}:
                message = messages.get(timeout=60)
                found[message.topic] = message
            assert found.keys() == {"kept", "will/a"}
            assert len(found["kept"].payload) == 200_000
            assert 500 < found["kept"].properties.MessageExpiryInterval <= 600
            assert found["will/a"].payload == b"gone"


@pytest.mark.system
def test_a_kept_session_gets_a_round_of_updates_it_slept_through(kind: str, tmp_path: Path) -> None:
    count, size = 100, 120_000  # 12 MB: more than a limit left at its default lets through
    with brokers.start(kind, tmp_path) as broker:
        with client(broker, "sleeper", keep=True) as (sleeper, _):
            (_, identifier) = sleeper.subscribe("update/#", 1)
            assert identifier is not None
            publish(sleeper, "other", b"behind the subscription")
        with client(broker, "sender") as (sender, _):
            infos = [sender.publish(f"update/{index}", bytes(size), 1) for index in range(count)]
            for info in infos:
                info.wait_for_publish(10)
        with client(broker, "sleeper", keep=True) as (sleeper, messages):
            assert sleeper.user_data_get() is True, "the session was not kept"
            topics = {messages.get(timeout=60).topic for _ in range(count)}
            assert topics == {f"update/{index}" for index in range(count)}


@pytest.mark.system
def test_it_comes_back_on_the_same_port_after_a_sigkill(kind: str, tmp_path: Path) -> None:
    with brokers.start(kind, tmp_path) as broker:
        url = broker.url
        with client(broker, "a") as (a, _):
            publish(a, "kept", b"x", retain=True)
            if kind == "mosquitto":  # it acknowledges first and saves a moment later
                saved = tmp_path / "mosquitto.db"
                wait_until(lambda: saved.exists() and b"kept" in saved.read_bytes())
        broker.kill()
        with pytest.raises(FedgeError, match="SIGKILL"):
            broker.check()
        broker.restart()
        broker.check()
        assert broker.url == url
        with client(broker, "b") as (b, messages):
            b.subscribe("kept", 1)
            if kind == "mosquitto":  # the embedded one remembers nothing, on purpose a broker for demos
                assert messages.get(timeout=60).payload == b"x"
    broker.check()


def test_auto_takes_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers, "_find_mosquitto", lambda: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"apt install mosquitto.*pip install"):
        brokers.start("auto", tmp_path)
    with pytest.raises(ConfigError, match="PATH"):
        brokers.start("mosquitto", tmp_path)
    with pytest.raises(ConfigError, match=r"fedge\[demo\]"):
        brokers.start("iotcore", tmp_path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("rabbit", "rabbit: .*'auto', 'mosquitto', 'iotcore'.*mqtt://"),
        ("http://127.0.0.1:1", r"mqtt://host\[:port\]"),
        ("mqtt://127.0.0.1:1", r"127\.0\.0\.1.*\b1\b"),
    ],
)
def test_a_broker_that_cannot_be_is_refused(kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        brokers.start(kind, tmp_path)


@pytest.mark.system
def test_a_port_in_use_is_refused(kind: str, tmp_path: Path) -> None:
    with brokers.start(kind, tmp_path / "one") as first:
        port = int(first.url.rsplit(":", 1)[1])
        with brokers.start(first.url, tmp_path) as same:
            assert same.url == first.url
            with pytest.raises(FedgeError, match="here"):
                same.kill()
        first.check()
        with pytest.raises(FedgeError, match=rf"\b{port}\b"):
            brokers.start(kind, tmp_path / "two", port)


def test_a_free_port_is_none_that_an_outgoing_connection_may_be_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it is taken now and then: before the broker starts, or while it is away."""
    monkeypatch.setattr(brokers, "_first_outgoing_port", lambda: 20_000)
    ports = {brokers.free_port() for _ in range(50)}
    assert all(brokers.LOWEST_PORT <= port < 20_000 for port in ports)
    assert len(ports) > 40


def test_where_outgoing_connections_are_given_nearly_all_ports_a_free_one_is_one_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(brokers, "_first_outgoing_port", lambda: 1_024)
    with socket.create_server(("127.0.0.1", brokers.free_port())):
        pass
