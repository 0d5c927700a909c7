"""Stolen tokens, revoked devices, plaintext and false servers: nobody gets in, nobody is told anything."""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.config import AgentSettings
from agent.enrolment.join import join_with_token
from fedge.errors import ConfigError, Unanswered
from fedge.transport import LinkDown
from fedge.transport.mqtt import MqttTransport
from fedge.wire.topics import Topics
from fleet.pki.authority import Authority
from fleet.pki.certificates import utc_now
from fleet.pki.enrolment import enroll
from fleet.pki.keys import make_key, public_key
from fleet.pki.revocation import revoke
from fleet.pki.tokens import promise, withdraw
from tests.system.enrolment import (
    HOUR,
    SHORT_S,
    WAIT_S,
    Asked,
    ask,
    enrolled,
    is_let_in,
    is_shut_out,
    join,
    renew_now,
)
from tests.system.probes import Member, Refused, tls
from tests.system.production import Production, needs_mosquitto, production
from tests.system.registrars import RegistrarProcess, registrar

pytestmark = [pytest.mark.system, needs_mosquitto]
CONNECT = bytes.fromhex("100d00044d5154540502003c000000")
"""MQTT 5, section 3.1: clean start, keep-alive 60 s, no properties, no client id."""


@pytest.fixture(scope="module")
def place() -> Iterator[Production]:
    with production() as made:
        yield made


@pytest.fixture(scope="module")
def running(place: Production) -> Iterator[RegistrarProcess]:
    with registrar(place.folder) as process:
        yield process


def test_fault_73_a_stolen_token_takes_no_name_that_somebody_has(
    place: Production, running: RegistrarProcess, tmp_path: Path
) -> None:
    owner = promise(place.folder, uses=1, valid=HOUR).token
    assert join(owner, "honest", tmp_path) == "joined"
    stolen = promise(place.folder, uses=9, valid=HOUR).token
    another = promise(place.folder, uses=9, valid=HOUR).token
    taken, as_service, as_claim, forged = ask(
        place,
        stolen,
        Asked.of("honest"),
        Asked.of("mallory", common_name="greenhouse__aggregator"),
        Asked.of(stolen.claim),
        replace(Asked.of("mallory"), proof_key=another.proof_key),
    )
    assert [answer.refused for answer in (taken, as_service, as_claim, forged)] == [
        "name_taken",
        "bad_request",
        "bad_request",
        "wrong_proof",
    ]
    assert running.used(stolen.claim) == 0
    assert is_let_in(place, tmp_path / "honest")


def test_fault_73_a_stolen_token_is_worthless_once_it_is_withdrawn(
    place: Production, running: RegistrarProcess, tmp_path: Path
) -> None:
    token = promise(place.folder, uses=9, valid=HOUR).token
    assert join(token, "mallory", tmp_path) == "joined"
    assert ask(place, token, Asked.of("m-1"))[0].certificate is not None
    thief = Member(place.provisioning_port, tls(place.folder.ca), token.user, token.password).open()
    request = Topics("greenhouse").provision(token.claim, "request")
    assert thief.publish([request], b"anything") == {request: True}

    whom, _ = withdraw(place.folder, token.claim)
    assert whom == ["greenhouse_m-1", "greenhouse_mallory"], "who else is to be shut out is said"
    assert thief.is_shut_out(request)
    thief.close()
    with pytest.raises(Unanswered, match=r"token.*(ended|withdrawn)"):
        join_with_token(token, "m-2", tmp_path / "m-2", wait_s=SHORT_S)
    assert running.used(token.claim) == 2


def test_fault_73_a_revoked_device_neither_connects_nor_renews(
    place: Production, running: RegistrarProcess, tmp_path: Path
) -> None:
    token = promise(place.folder, uses=1, valid=HOUR).token
    assert join(token, "lost", tmp_path) == "joined"
    home = tmp_path / "lost"
    revoke(place.folder, "lost")
    assert is_shut_out(place, home)
    before = (home / "identity.pem").read_bytes()
    with pytest.raises(Unanswered, match=r"device.*revoked"):
        renew_now(home, FEDGE_AGENT_BROKER__KEEPALIVE_S="30")
    assert (home / "identity.pem").read_bytes() == before


class Resumer:
    """A device that takes its TLS session up again, in which no certificate is looked at (RFC 8446, 2.2)."""

    def __init__(self, place: Production, home: Path, version: ssl.TLSVersion) -> None:
        self._port = place.port
        self._context = tls(place.folder.ca, home / "identity.pem")
        self._context.minimum_version = self._context.maximum_version = version
        self._session: ssl.SSLSession | None = None

    def connects(self) -> bool:
        """Whether it is let in; what it may resume next time is kept."""
        try:
            with (
                socket.create_connection(("127.0.0.1", self._port), timeout=WAIT_S) as plain,
                self._context.wrap_socket(
                    plain, server_hostname="127.0.0.1", session=self._session
                ) as connection,
            ):
                connection.sendall(CONNECT)
                accepted = connection.recv(4)[:1] == b"\x20"
                self.resumed = connection.session_reused
                self._session = connection.session
                return accepted
        except OSError:
            return False


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_fault_73_a_revoked_device_cannot_take_its_tls_session_up_again(
    place: Production, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    """Also not when its name was enrolled anew, and its block stands in the access list again."""
    device = f"resumer-{version.name[-1]}"
    thief = Resumer(place, enrolled(place, device, tmp_path), version)
    deadline_s = time.monotonic() + WAIT_S
    while not (thief.connects() and thief.resumed):  # the signal of its enrolment ends sessions too
        assert time.monotonic() < deadline_s, "it resumes nothing, so this would prove nothing"
    enroll(place.folder, device, again=True)
    while thief.connects():
        assert time.monotonic() < deadline_s + WAIT_S, "the old certificate still counts"
    assert not thief.connects()


@pytest.mark.parametrize("url", ["mqtt://127.0.0.1:8883", "mqtt://broker.example:8883"])
def test_fault_73_a_device_never_speaks_plaintext_to_the_broker(
    place: Production, url: str, tmp_path: Path
) -> None:
    home = enrolled(place, f"plain-{len(url)}", tmp_path)
    with pytest.raises(ConfigError, match=r"TLS.* mqtt://"):
        AgentSettings.load(home / "agent.toml", {"FEDGE_AGENT_BROKER__URL": url})
    for port in (place.port, place.provisioning_port):  # nor would it be heard
        with pytest.raises(Refused):
            Member(port).open()


class Impostor:
    """A server in the broker's place, with a certificate of another authority; keeps what it is told."""

    def __init__(self, folder: Path) -> None:
        authority = Authority.found("greenhouse authority", make_key(), 1, utc_now())
        key = make_key()
        issued = authority.issue_server("greenhouse__broker", public_key(key), ["127.0.0.1"], 1, utc_now())
        (folder / "impostor.pem").write_bytes(key + issued.pem)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "impostor.pem")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.heard = b""
        self.visits = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self.listener.accept()
            except OSError:
                return
            self.visits += 1
            with visitor:
                visitor.settimeout(WAIT_S)
                try:
                    with self.context.wrap_socket(visitor, server_side=True) as connection:
                        self.heard += connection.recv(1000)
                except OSError:
                    pass

    def close(self) -> None:
        if self._thread.is_alive():
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self._thread.join(WAIT_S)


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[Impostor]:
    made = Impostor(tmp_path)
    yield made
    made.close()


@pytest.mark.slow
def test_fault_73_nobody_tells_a_server_of_another_authority_anything(
    place: Production, impostor: Impostor, tmp_path: Path
) -> None:
    """Neither the token's password, nor that for renewals, nor who the device is."""
    token = promise(place.folder, uses=1, valid=HOUR).token
    false = token.model_copy(update={"provisioning_port": impostor.port})
    with pytest.raises(Unanswered, match="trusted"):
        join_with_token(false, "careful", tmp_path / "careful", wait_s=SHORT_S)
    home = enrolled(place, "wary", tmp_path / "wary")
    with pytest.raises(Unanswered, match="trusted"):
        renew_now(home, FEDGE_AGENT_RENEWAL__PORT=str(impostor.port))

    told: queue.SimpleQueue[object] = queue.SimpleQueue()
    url = f"mqtts://127.0.0.1:{impostor.port}"
    settings = AgentSettings.load(home / "agent.toml", {"FEDGE_AGENT_BROKER__URL": url})
    link = MqttTransport(settings.broker, "wary", told.put)
    link.open()
    down = told.get(timeout=WAIT_S)
    link.close()
    assert isinstance(down, LinkDown)
    assert "trusted" in down.reason
    impostor.close()
    assert impostor.visits >= 3
    assert impostor.heard == b""
