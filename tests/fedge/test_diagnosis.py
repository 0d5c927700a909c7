"""Each way in which a connection fails is told with the broker's address and what to look at."""

import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedge.transport import LinkDown, LinkUp, diagnosis
from fedge.transport.diagnosis import KINDS, LARGE, LONGEST_AGAIN_S, Losses, Peer
from fleet.demo import broker as brokers
from tests.fedge.client import Client

PLAIN, SECURE = Peer("broker.example", 1883, tls=False), Peer("broker.example", 8883, tls=True)


# ── the words ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            diagnosis.refused(PLAIN, 0x87, "Not authorized"),
            "broker.example:1883 .*Not authorized",
        ),
        (
            diagnosis.refused(PLAIN, 0x84, "Unsupported protocol version"),
            "broker.example:1883 .*MQTT",
        ),
        (
            diagnosis.unanswered(PLAIN, b"\x15\x03\x01", "x", 30.0),
            r"broker.example:1883 .*TLS.*\[broker\] url",
        ),
        (diagnosis.unanswered(PLAIN, b"HTTP/1.1", "x", 30.0), r"MQTT.*48 54 54 50"),
        (diagnosis.unanswered(PLAIN, b"", "x", 30.0), "mqtt://.*TLS"),
        (diagnosis.unanswered(SECURE, None, "x", 30.0), "MQTT 5.*certificate"),
        (
            diagnosis.unanswered(Peer("b", 8883, True, "me.pem"), None, "x", 30.0),
            "certificate me.pem",
        ),
        (
            diagnosis.unanswered(PLAIN, None, "Keep alive timeout", 30.0),
            "30 s.*MQTT",
        ),
        (
            diagnosis.lost(PLAIN, "Keep alive timeout", 30.0, 9, said=False),
            "broker.example.* 30 s|30 s.*broker.example",
        ),
        (
            diagnosis.lost(PLAIN, "Session taken over", 30.0, 9, said=True),
            "Session taken over",
        ),
        (
            diagnosis.lost(PLAIN, "Unspecified error", 30.0, 9, said=True),
            "1883 closed",
        ),
        (diagnosis.lost(PLAIN, "Unspecified error", 30.0, 9, said=False), "1883 was lost"),
        (
            diagnosis.lost(PLAIN, "Unspecified error", 30.0, LARGE, said=False),
            "16,384 bytes",
        ),
        (
            diagnosis.no_handshake(SECURE, ConnectionResetError(104, "reset")),
            "8883 .*TLS",
        ),
        (diagnosis.no_handshake(SECURE, ssl.SSLEOFError(8, "EOF")), "8883 .*TLS"),
        (
            diagnosis.no_handshake(SECURE, ssl.SSLError(1, "no cipher")),
            "8883: .*TLS.*no cipher",
        ),
        (
            diagnosis.lost(Peer("::1", 1883, tls=False), "Success", 1.0, 0, said=False),
            r"\[::1\]:1883 was lost",
        ),
    ],
)
def test_every_text_names_the_broker_and_the_cause(text: str, words: str) -> None:
    assert re.search(words, text)
    assert "1883" in text or "8883" in text
    assert "Unspecified error" not in text


# ── which of them are said ─────────────────────────────────────────────────────────────────────────


def lines(reason: Callable[[int], str], every_s: float, lasts_s: float) -> list[str]:
    losses = Losses()
    told = [losses.text(reason(k), k * every_s) for k in range(int(lasts_s / every_s))]
    return [text for text in told if text is not None]


def test_a_broker_that_is_away_for_a_day_costs_some_thirty_lines() -> None:
    """A loss each 10 s is 8,640 a day; said after 0, 30, 90, 210, 450, 930, 1890, 3810 s, then each hour."""
    told = lines(lambda _: "no broker answers", 10.0, 86_400.0)
    assert told[:3] == [
        "no broker answers",
        "no broker answers (and 2 more times since this was last logged)",
        "no broker answers (and 5 more times since this was last logged)",
    ]
    assert len(told) == 30
    assert lines(lambda k: f"the last packet had {k} bytes", 10.0, 86_400.0)[1:2] == [
        "the last packet had 3 bytes (and 2 more times since this was last logged)"
    ], "a number does not make it another reason"


def test_another_reason_is_said_at_once_and_one_that_was_away_for_long_too() -> None:
    losses = Losses()
    assert losses.tells_return(0.0), "the first connection is told"
    assert losses.text("away", 0.0) == "away"
    assert losses.tells_return(0.0)
    assert losses.text("away", 1.0) is None
    assert losses.text("refused", 2.0) == "refused"
    assert losses.text("away", 30.0 + LONGEST_AGAIN_S) == "away", "it is new again"


def test_returns_of_which_the_loss_was_not_told_are_told_now_and_then() -> None:
    """Up and down each 10 s for a day: 30 whose loss was told, of the others 20 and one in ten minutes."""
    losses, told = Losses(), 0
    for number in range(8_640):
        losses.text("away", 10.0 * number)
        told += losses.tells_return(10.0 * number)
    assert told == 30 + 20 + 143


def test_of_many_reasons_few_are_remembered() -> None:
    losses = Losses()
    for letters in range(10 * KINDS):
        losses.text("x" * letters, 0.0)
    assert len(losses._told) == KINDS


# ── real brokers ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def client() -> Iterator[Callable[[str], Client]]:
    made: list[Client] = []

    def make(url: str) -> Client:
        made.append(Client(url, "pi"))
        return made[-1]

    yield make
    for each in made:
        each.link.close(timeout_s=0.2)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """A Mosquitto with a plain listener and one for TLS."""
    folder = tmp_path_factory.mktemp("both")
    pair = ["-keyout", "key.pem", "-out", "cert.pem", "-days", "1", "-subj", "/CN=localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*command, *pair], cwd=folder, check=True, capture_output=True)
    plain, secure = brokers.free_port(), brokers.free_port()
    (folder / "m.conf").write_text(
        f"user root\nallow_anonymous true\nlistener {plain} 127.0.0.1\nlistener {secure} 127.0.0.1\n"
        f"certfile {folder}/cert.pem\nkeyfile {folder}/key.pem\n"
    )
    found = brokers._find_mosquitto()
    assert found is not None
    with brokers.LocalBroker("mosquitto", [found, "-c", str(folder / "m.conf")], plain, folder / "log"):
        yield plain, secure


def test_plain_mqtt_at_a_port_for_tls_is_named(
    ports: tuple[int, int], client: Callable[[str], Client]
) -> None:
    lost = client(f"mqtt://127.0.0.1:{ports[1]}")
    lost.link.open()
    reason = lost.wait_for(LinkDown).reason
    assert reason.startswith(f"127.0.0.1:{ports[1]} ")
    assert "mqtts://" in reason


def test_tls_at_a_port_for_plain_mqtt_is_named(
    ports: tuple[int, int], client: Callable[[str], Client]
) -> None:
    lost = client(f"mqtts://127.0.0.1:{ports[0]}")
    lost.link.open()
    reason = lost.wait_for(LinkDown).reason
    assert reason.startswith(f"127.0.0.1:{ports[0]} ")
    assert "mqtt://" in reason.replace("mqtts://", "")


def test_a_connection_that_a_broker_ends_names_it(tmp_path: Path, client: Callable[[str], Client]) -> None:
    with brokers.start("mosquitto", tmp_path, port := brokers.free_port()) as broker:
        pi = client(f"mqtt://127.0.0.1:{port}")
        pi.link.open()
        pi.wait_for(LinkUp)
        assert isinstance(broker, brokers.LocalBroker)
        broker.kill()
        assert f"127.0.0.1:{port}" in pi.wait_for(LinkDown).reason


# ── brokers that do not speak MQTT 5 ───────────────────────────────────────────────────────────────


@contextmanager
def server(answer: bytes | None) -> Iterator[int]:
    """Takes connections, reads the CONNECT, says `answer` and ends them; None: says nothing at all."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        ends = threading.Event()

        def serve() -> None:
            while not ends.is_set():
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(1_000)
                    if answer is None:
                        ends.wait()
                    else:
                        peer.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            ends.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5.0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\x20\x02\x00\x01", "speaks only an older MQTT (Unsupported protocol version)"),
        (b"", "closed the connection without a reason: does it speak MQTT 5"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "answered with something else than MQTT"),
    ],
)
def test_a_server_that_speaks_no_mqtt_5_is_named(
    client: Callable[[str], Client], answer: bytes, words: str
) -> None:
    with server(answer) as port:
        pi = client(f"mqtt://127.0.0.1:{port}")
        pi.link.open()
        reason = pi.wait_for(LinkDown).reason
    assert reason.startswith(f"127.0.0.1:{port} ")
    assert words in reason


def test_a_server_that_stays_silent_is_named(
    client: Callable[[str], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """paho gives up after its keep-alive, which is shorter here than settings allow."""
    with server(None) as port:
        pi = client(f"mqtt://127.0.0.1:{port}")
        monkeypatch.setattr(pi.link, "broker", pi.link.broker.model_copy(update={"keepalive_s": 1}))
        pi.link.open()
        reason = pi.wait_for(LinkDown).reason
    assert reason.startswith(f"127.0.0.1:{port} accepted the connection and sent nothing for 1 s")
