"""MQTT: what MQTT alone can show; `tests/transport` has what every transport promises."""

import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from fedge.errors import ConfigError
from fedge.service.settings import BrokerSettings
from fedge.transport import Answered, LinkDown, LinkEvent, LinkUp, MessageArrived, Publication, Sent, Traffic
from fedge.transport.events import NO_ANSWER
from fedge.transport.mqtt import MqttTransport
from fedge.transport.mqtt.connection import Options, PahoConnection
from fedge.transport.window import WINDOW
from fleet.demo import broker as brokers
from fleet.demo.tcp_proxy import Relay
from tests.fedge.client import PATIENCE_S, Client

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not brokers._find_mosquitto(), reason="mosquitto is not installed"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[brokers.Broker]:
    with brokers.start("mosquitto", tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[brokers.LocalBroker]:
    """One to kill."""
    started = brokers.start("mosquitto", tmp_path / "broker")
    assert isinstance(started, brokers.LocalBroker)
    with started:
        yield started


@pytest.fixture
def client(shared: brokers.Broker) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(name: str, *, url: str = shared.url, **options: object) -> Client:
        made.append(Client(url, name, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.link.close(timeout_s=0.2)


def process(broker: brokers.LocalBroker) -> "subprocess.Popen[bytes]":
    assert broker._program is not None
    return broker._program.process


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of our own configuration: one user, who may publish below `allowed/`, packets up to 5,000."""
    folder = tmp_path_factory.mktemp("strict")
    (folder / "acl").write_text("user pi\ntopic readwrite allowed/#\n")
    (folder / "passwords").write_text("pi:secret\n")
    subprocess.run(["mosquitto_passwd", "-U", str(folder / "passwords")], check=True)
    port = brokers.free_port()
    (folder / "m.conf").write_text(
        f"listener {port} 127.0.0.1\nuser root\nallow_anonymous false\nmax_packet_size 5000\n"
        "max_inflight_messages 3\n"
        f"acl_file {folder / 'acl'}\npassword_file {folder / 'passwords'}\n"
    )
    for path in (folder, folder / "acl", folder / "passwords"):
        path.chmod(0o755)
    found = brokers._find_mosquitto()
    assert found is not None
    local = brokers.LocalBroker(
        "mosquitto", [found, "-c", str(folder / "m.conf")], port, folder / "broker.log"
    )
    with local:
        yield local.url


def words(topic: str, payload: bytes = b"x") -> Publication:
    return Publication(topic, payload)


def test_what_the_broker_refuses_is_said(strict: str, client: Callable[..., Client], tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")
    pi = client("pi", url=strict, username="pi", password_file=password)
    pi.open()
    assert pi.send(words("allowed/1")).refusal is None
    sent = pi.send(words("forbidden/1"), words("allowed/2"), token="mixed")
    assert (sent.token, sent.refusal) == ("mixed", "Not authorized")
    for send in (lambda word: pi.link.send([word]), pi.link.reply):  # without a token too
        send(words("forbidden/2"))
        assert pi.wait_for(Sent) == Sent(None, "Not authorized")
    assert pi.send(words("allowed/3")).refusal is None


def test_a_wrong_password_is_said_and_tried_again(
    strict: str, client: Callable[..., Client], tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("wrong\n")
    pi = client("pi", url=strict, username="pi", password_file=password)
    pi.link.open()
    down = pi.wait_for(LinkDown)
    assert (down.reason, down.unauthorized) == (f"{strict[7:]} refuses this client: Not authorized", True)
    password.write_text("secret\n")  # read anew at each attempt
    assert pi.wait_for(LinkUp).connection > 1
    assert pi.link.up


def test_fault_12_a_packet_over_the_limit_is_not_sent(
    strict: str, client: Callable[..., Client], tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")
    pi = client("pi", url=strict, username="pi", password_file=password)
    assert pi.open().max_packet == 5_000
    reader = client("reader", url=strict, username="pi", password_file=password)
    reader.open()
    reader.subscribe("allowed/#")
    sent = pi.send(words("allowed/a", bytes(1_000)), words("allowed/big", bytes(5_000)), words("allowed/b"))
    assert sent.refusal is not None
    # 1 byte of type, 2 of length, topic 2 + 11, identifier 2, properties 1, payload 5,000
    assert sent.refusal.startswith("allowed/big: a packet of 5019 bytes is over the broker's limit of 5000: ")
    assert pi.link.room("allowed/big") == 5_000 - 19
    assert pi.send(words("allowed/big", bytes(5_000 - 19)), token=1).refusal is None
    assert pi.link.up
    assert pi.send(words("allowed/c")).refusal is None
    assert [len(message.payload) for message in reader.messages(3)] == [1_000, 4_981, 1]


def test_no_more_is_under_way_than_the_broker_grants(
    strict: str, client: Callable[..., Client], tmp_path: Path
) -> None:
    """Mosquitto's `max_inflight_messages` is the Receive Maximum of its CONNACK."""
    password = tmp_path / "password"
    password.write_text("secret\n")
    pi = client("pi", url=strict, username="pi", password_file=password)
    assert pi.open().receive_maximum == 3
    pulled: list[int] = []

    def pieces() -> Iterator[Publication]:
        for i in range(10):
            pulled.append(i)
            yield words("allowed/a")

    pi.link.send(pieces(), "all")
    assert len(pulled) == 3, "no answer has been handled yet"
    assert pi.wait_for(Sent) == Sent("all", None)
    assert len(pulled) == 10


def test_on_a_slow_line_the_connection_stays_and_messages_do_not_wait_behind_a_large_one(
    broker: brokers.LocalBroker, client: Callable[..., Client]
) -> None:
    """1.3 MB at 1.5 Mbit/s takes 7 s, longer than the keep-alive."""
    reader = client("reader", url=broker.url)
    reader.open()
    reader.subscribe("slow/+")
    with Relay("127.0.0.1", int(broker.url.rsplit(":", 1)[1]), rate_bps=1.5e6) as relay:
        far = client("far", url=f"mqtt://127.0.0.1:{relay.port}", keepalive_s=5)
        far.open()
        far.link.send((words(f"slow/{i}", bytes(129_106)) for i in range(10)), "large", bulk=True)
        far.wait_for(Answered)  # the first frame has arrived, and two more are under way
        far.link.send([words("slow/status")])
        assert far.wait_for(Sent) == Sent("large", None)
        far.link.close()
        assert relay.accepted == 1, "it was never cut off"
    topics = [message.topic for message in reader.messages(11)]
    assert topics.index("slow/status") <= 3


def _drain(client: Client) -> list[MessageArrived]:
    found: list[MessageArrived] = []
    while True:
        try:
            event = client.next(timeout_s=0.15)
        except queue.Empty:
            return found
        if isinstance(event, MessageArrived):
            found.append(event)


def test_fault_01_the_link_comes_back_after_the_broker_was_killed(
    client: Callable[..., Client], broker: brokers.LocalBroker
) -> None:
    writer = client("writer", url=broker.url)
    writer.open()
    # What the broker never answered is not said again behind our back.
    process(broker).send_signal(signal.SIGSTOP)
    writer.link.send([words("a", b"unanswered")], "lost")
    time.sleep(0.05)
    broker.kill()
    assert writer.wait_for(LinkDown).reason
    assert not writer.link.up
    broker.restart()
    reader = client("reader", url=broker.url)
    reader.open()
    reader.subscribe("a")
    event = writer.next()
    while not isinstance(event, LinkUp):
        assert isinstance(event, LinkDown)
        assert event.reason.startswith("no broker answers at 127.0.0.1:")
        event = writer.next()
    assert event.connection > 1
    assert writer.send(words("a", b"said again")) == Sent("all", None)
    assert [message.payload for message in _drain(reader)] == [b"said again"]


def test_no_broker_at_the_start(client: Callable[..., Client], tmp_path: Path) -> None:
    port = brokers.free_port()
    early = client("early", url=f"mqtt://127.0.0.1:{port}")
    early.link.open()
    assert early.wait_for(LinkDown).reason.startswith(f"no broker answers at 127.0.0.1:{port}: ")
    with brokers.start("mosquitto", tmp_path / "late", port):
        assert early.wait_for(LinkUp).connection > 1


def test_a_host_that_is_no_name_does_not_end_the_thread(client: Callable[..., Client]) -> None:
    lost = client("lost", url=f"mqtt://{'x' * 70}.localhost")
    lost.link.open()
    for _ in range(2):
        assert lost.wait_for(LinkDown).reason.startswith("no broker answers at xxx")


def test_fault_09_a_client_id_taken_over_backs_off(client: Callable[..., Client]) -> None:
    one, other = client("same"), client("same")
    one.open()
    other.open()
    assert isinstance(one.wait_for(LinkDown), LinkDown)
    assert one.wait_for(LinkUp).connection == 2
    assert isinstance(other.wait_for(LinkDown), LinkDown)
    other.link.close()
    one.quiet()


def elapsed_s(do: Callable[[], None]) -> float:
    began_s = time.monotonic()
    do()
    return time.monotonic() - began_s


def test_fault_20_close_is_quick_when_the_broker_hangs(
    client: Callable[..., Client], broker: brokers.LocalBroker
) -> None:
    device = client("device", url=broker.url)
    device.open()
    process(broker).send_signal(signal.SIGSTOP)
    try:
        device.link.send(words(f"a/{i}", bytes(131_072)) for i in range(WINDOW))  # fills all buffers
        assert elapsed_s(lambda: device.link.close(words("status"))) < 2.0
        waiting = client("waiting", url=broker.url)
        waiting.link.open()  # the kernel accepts it, the broker says nothing
        time.sleep(0.1)
        assert elapsed_s(waiting.link.close) < 2.0
    finally:
        process(broker).send_signal(signal.SIGCONT)
    assert device.open().connection == 2


def test_close_is_quick_when_no_packet_is_answered(client: Callable[..., Client]) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # fill its backlog: the next connection attempt gets no answer
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        device = client("device", url=f"mqtt://127.0.0.1:{full.getsockname()[1]}")
        device.link.open()
        time.sleep(0.1)
        assert elapsed_s(device.link.close) < 2.0
        device.quiet(0.01)


def test_topics_that_are_no_text_arrive_without_name() -> None:
    told: list[LinkEvent] = []
    options = Options(BrokerSettings(), "device", None, 0, manual_ack=False)
    connection = PahoConnection(options, 1, threading.Event(), told.append, lambda: None, Traffic())
    message = mqtt.MQTTMessage(7, b"\xff\xfe")
    message.payload, message.qos = b"x", 1
    connection._on_message(None, None, message)
    assert told == [MessageArrived("", b"x", False, None, 1, 7)]


def test_an_answer_that_cannot_be_read_costs_the_connection_and_not_the_link(
    client: Callable[..., Client],
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(PATIENCE_S)
        device = client("device", url=f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        device.link.open()
        for _ in range(2):
            peer, _address = server.accept()
            with peer:
                peer.recv(1_000)
                peer.sendall(b"\x20\x01\x00")  # a CONNACK one byte long
                assert device.wait_for(LinkDown).reason


def test_a_connection_that_an_error_ends_is_closed() -> None:
    def fails() -> None:
        raise RuntimeError("of no kind that is foreseen")

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        broker = BrokerSettings(url=f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        options = Options(broker, "device", None, 0, manual_ack=False)
        connection = PahoConnection(options, 1, threading.Event(), lambda _event: None, fails, Traffic())
        assert "of no kind that is foreseen" in connection.run().reason
        peer, _address = server.accept()
        with peer:
            peer.settimeout(PATIENCE_S)
            assert peer.recv(1_000), "what it said first"
            assert peer.recv(1) == b"", "the broker need not wait for a keep-alive to send the will"


def test_a_tls_file_that_is_none_is_named(tmp_path: Path) -> None:
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"ca\.pem: .*PEM"):
        MqttTransport(BrokerSettings(url="mqtts://127.0.0.1", ca=nonsense), "x", print)
    both = {"certificate": nonsense, "key": nonsense}
    with pytest.raises(ConfigError, match=r"ca\.pem.*PEM"):
        MqttTransport(BrokerSettings(url="mqtts://127.0.0.1", **both), "x", print)


def test_a_network_thread_that_hangs_is_found_out(
    shared: brokers.Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedge.transport.mqtt.transport.LONGEST_TURN_S", 0.3)
    monkeypatch.setattr("fedge.transport.mqtt.transport.LONGEST_ATTEMPT_S", 0.3)
    hang, goes_on = threading.Event(), threading.Event()

    def inbox(_: object) -> None:
        hang.set()
        goes_on.wait()

    link = MqttTransport(BrokerSettings(url=shared.url), "hanging", inbox)
    link.open()
    try:
        assert hang.wait(PATIENCE_S)
        due_s = time.monotonic() + PATIENCE_S
        while link.pulse.overdue_s() == 0:
            assert time.monotonic() < due_s
            time.sleep(0.01)
    finally:
        goes_on.set()
        link.close()
    assert link.pulse.overdue_s() == 0, "a link that is closed owes nothing"


@pytest.mark.parametrize("retain", [False, True])
def test_a_message_at_qos_0_is_taken_and_the_connection_stays(
    shared: brokers.Broker, client: Callable[..., Client], retain: bool
) -> None:
    """It has no packet identifier, and a broker ends the connection of a client that acknowledges none."""
    topic = f"at-once/{retain}"
    keeper = client(f"keeper-{retain}", manual_ack=True)
    keeper.open()
    foreign = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    host, port = shared.url.removeprefix("mqtt://").split(":")
    foreign.connect(host, int(port))
    foreign.loop_start()
    if not retain:
        keeper.subscribe(topic)
    foreign.publish(topic, b"zero", qos=0, retain=retain).wait_for_publish(PATIENCE_S)
    foreign.publish(f"{topic}/behind", b"one", qos=1).wait_for_publish(PATIENCE_S)
    if retain:
        keeper.subscribe(topic)
    (came,) = keeper.messages(1)
    keeper.link.acknowledge(came)
    keeper.subscribe("other")  # its answer comes behind the broker's judgement
    foreign.publish(topic, b"one", qos=1, retain=retain).wait_for_publish(PATIENCE_S)
    (next_,) = keeper.messages(1)
    keeper.link.acknowledge(next_)
    foreign.publish(topic, b"", qos=1, retain=True).wait_for_publish(PATIENCE_S)
    foreign.disconnect()
    foreign.loop_stop()
    assert (came.payload, came.mid, next_.payload) == (b"zero", NO_ANSWER, b"one")
    assert (came.connection, next_.connection) == (1, 1)
    assert keeper.link.up
