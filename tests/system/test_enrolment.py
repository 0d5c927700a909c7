"""Devices that enrol themselves and renew, against Mosquitto and `fedge registrar` as a process."""

import queue
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.config import AgentSettings
from agent.enrolment.certificates import KeyAndRequest, Present
from agent.enrolment.join import begin_request, join_with_bundle, join_with_token
from agent.enrolment.renew import renew
from fedge.errors import ConfigError, FedgeError, Unanswered
from fedge.identity.provisioning import (
    SALT_BYTES,
    Enrol,
    Issued,
    Verifier,
    digest,
    enrolment_proof,
    identity,
)
from fedge.identity.token import Token
from fedge.transport import LinkDown
from fedge.transport.mqtt import MqttTransport
from fedge.wire.messages.message import pack, unpack
from fedge.wire.topics import Topics
from fleet.pki.authority import Authority
from fleet.pki.certificates import utc_now
from fleet.pki.enrolment import enroll, revoke
from fleet.pki.keys import make_key, public_key
from fleet.pki.tokens import promise, withdraw
from tests.system.probes import Member, Refused, tls
from tests.system.production import Production, needs_mosquitto, production
from tests.system.registrars import RegistrarProcess, files, registrar

pytestmark = [pytest.mark.system, needs_mosquitto]

HOUR = timedelta(hours=1)
WAIT_S, SHORT_S = 90.0, 3.0
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


def run(module: str, *arguments: str, text: str | None = None) -> str:
    """What one of our programs prints."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def renew_now(home: Path, **environment: str) -> None:
    """Renew the identity in a device's folder, due or not."""
    settings = AgentSettings.load(home / "agent.toml", environment)
    renew(settings, datetime.now(UTC), force=True, wait_s=SHORT_S if environment else WAIT_S)


def enrolled(place: Production, device: str, home: Path) -> Path:
    """A device with the bundle that somebody made for it."""
    join_with_bundle(enroll(place.folder, device).bundle, home)
    return home


def is_let_in(place: Production, home: Path) -> bool:
    try:
        Member(place.port, tls(place.folder.ca, home / "identity.pem")).open().close()
    except Refused:
        return False
    return True


def is_shut_out(place: Production, home: Path) -> bool:
    """Soon, when the broker has heard the signal."""
    deadline_s = time.monotonic() + WAIT_S
    while is_let_in(place, home):
        if time.monotonic() > deadline_s:
            return False
    return True


# The ways in


@pytest.mark.parametrize("device", ["pi-1", "3f2504e0-4f89-41d3-9a0c-0305e82c3301"])
def test_a_device_joins_with_a_token_and_renews(
    place: Production, running: RegistrarProcess, tmp_path: Path, device: str
) -> None:
    (token,) = run("fleet", "enroll", "--token", "--folder", str(place.folder.root)).split()
    home = tmp_path / device
    run("agent", "join", "-", "--device", device, "--folder", str(home), text=token)
    assert files(home) == {"agent.toml", "identity.pem", "ca.pem", "signing.pub", "renewal.password"}
    assert {(home / name).stat().st_mode & 0o777 for name in ("identity.pem", "renewal.password")} == {0o600}
    assert is_let_in(place, home)
    assert AgentSettings.load(home / "agent.toml", {}).device == device

    before = Present.read(home / "identity.pem")
    assert "not yet due" in run("agent", "renew", "--config", str(home / "agent.toml"))
    assert Present.read(home / "identity.pem").der == before.der
    assert "renewed" in run("agent", "renew", "--config", str(home / "agent.toml"), "--before", "1000")
    after = Present.read(home / "identity.pem")
    assert after.key.public_key() != before.key.public_key(), "a new key as well"
    assert after.common_name == before.common_name == f"greenhouse_{device}"
    assert is_let_in(place, home)
    assert not (home / "renewing").exists()


def test_a_device_joins_with_a_request_that_somebody_carries(place: Production, tmp_path: Path) -> None:
    home = tmp_path / "pi-2"
    request = begin_request("pi-2", home)
    assert b"PRIVATE KEY" not in request.read_bytes()
    assert begin_request("pi-2", home).read_bytes() == request.read_bytes(), "again: the same request"
    bundle = enroll(place.folder, None, request=request.read_bytes()).bundle
    assert b"PRIVATE KEY" not in bundle.read_bytes(), "the key has never left the device"
    with pytest.raises(ConfigError, match="made for a request, and none was begun here"):
        join_with_bundle(bundle, tmp_path / "elsewhere")
    join_with_bundle(bundle, home)
    assert is_let_in(place, home)


def test_a_device_joins_with_a_bundle_and_keeps_its_settings(place: Production, tmp_path: Path) -> None:
    home = enrolled(place, "pi-3", tmp_path / "pi-3")
    assert is_let_in(place, home)
    edited = (home / "agent.toml").read_text().replace("data.csv", "mine.csv")
    (home / "agent.toml").write_text(edited)
    again = enroll(place.folder, "pi-3", again=True).bundle
    assert is_shut_out(place, home), "the old certificate counts no more"
    join_with_bundle(again, home)
    assert is_let_in(place, home)
    assert (home / "agent.toml").read_text() == edited
    with pytest.raises(ConfigError, match="is of greenhouse_pi-3, not of greenhouse_pi-4"):
        join_with_bundle(enroll(place.folder, "pi-4").bundle, home)


# 71: many identities from one enrolment token


def join(token: Token, device: str, folder: Path) -> str:
    """What became of it: `joined`, or why not."""
    try:
        join_with_token(token, device, folder / device, wait_s=WAIT_S)
    except FedgeError as error:
        return str(error)
    return "joined"


@dataclass(frozen=True)
class Asked:
    """A request, as somebody would make it who does not use our program."""

    device: str
    csr: bytes
    password: str = "secret"
    proof_key: bytes | None = None

    @classmethod
    def of(cls, device: str, common_name: str | None = None) -> "Asked":
        return cls(device, KeyAndRequest.make(common_name or identity("greenhouse", device)).csr)

    def message(self, token: Token) -> bytes:
        renewal = Verifier.of(self.password, bytes(SALT_BYTES))
        key = self.proof_key or token.proof_key
        proof = enrolment_proof(key, token.federation, self.device, self.csr, renewal)
        return pack(Enrol(device=self.device, csr=self.csr, renewal=renewal, proof=proof))


def ask(place: Production, token: Token, *asked: Asked) -> list[Issued]:
    """Send all requests in one breath; the answers, in the order of the requests."""
    topics = Topics(token.federation)
    member = Member(place.provisioning_port, tls(place.folder.ca), token.user, token.password).open()
    member.subscribe([topics.provision(token.claim, "answer")])
    for each in asked:
        member.client.publish(topics.provision(token.claim, "request"), each.message(token), qos=1)
    member.wait_until(lambda: len(member.heard) == len(asked))
    member.close()
    answers = {answer.csr: answer for answer in (unpack(payload, Issued) for _, _, payload in member.heard)}
    return [answers[digest(each.csr)] for each in asked]


def test_fault_71_a_token_for_three_devices_makes_three(
    place: Production, running: RegistrarProcess, tmp_path: Path
) -> None:
    token = promise(place.folder, uses=3, valid=HOUR).token
    with ThreadPoolExecutor(5) as pool:  # they share a user name, so they take each other's connection over
        outcomes = list(pool.map(lambda number: join(token, f"swarm-{number}", tmp_path), range(5)))
    assert outcomes.count("joined") == 3
    refused = [outcome for outcome in outcomes if outcome != "joined"]
    assert all("claim_used_up" in outcome for outcome in refused), refused
    assert running.used(token.claim) == 3
    joined = [number for number, outcome in enumerate(outcomes) if outcome == "joined"]
    assert all(is_let_in(place, tmp_path / f"swarm-{number}") for number in joined)


def test_fault_71_nor_does_a_flood_make_more(place: Production, running: RegistrarProcess) -> None:
    token = promise(place.folder, uses=3, valid=HOUR).token
    answers = ask(place, token, *(Asked.of(f"sybil-{number}") for number in range(40)))
    assert sum(answer.certificate is not None for answer in answers) == 3
    assert {answer.refused for answer in answers} == {None, "claim_used_up"}
    assert running.used(token.claim) == 3


def test_fault_71_uses_are_counted_durably_and_a_lost_answer_uses_no_more(
    place: Production, running: RegistrarProcess, tmp_path: Path
) -> None:
    token = promise(place.folder, uses=2, valid=HOUR).token
    assert join(token, "first", tmp_path) == "joined"
    running.kill()  # as soon as somebody has heard of a certificate
    with pytest.raises(Unanswered, match="the registrar does not answer"):
        join_with_token(token, "second", tmp_path / "second", wait_s=SHORT_S)
    running.start()
    assert running.used(token.claim) == 1
    assert is_let_in(place, tmp_path / "first")

    pending = tmp_path / "second" / "joining"
    csr = KeyAndRequest.read((pending / "request.pem").read_bytes()).csr
    password = (pending / "renewal.password").read_text().strip()
    (answer,) = ask(place, token, Asked("second", csr, password))  # of which the device hears nothing
    assert "claim_used_up" in join(token, "third", tmp_path)
    assert join(token, "second", tmp_path) == "joined"
    assert Present.read(tmp_path / "second" / "identity.pem").der == answer.certificate
    assert running.used(token.claim) == 2
    renew_now(tmp_path / "second")
    assert is_let_in(place, tmp_path / "second")


# 73: stolen enrolment token, revoked certificate, plaintext client, server with the wrong CA


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
    with pytest.raises(Unanswered, match="the token has ended or was withdrawn"):
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
    with pytest.raises(Unanswered, match="or the device was revoked"):
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
    with pytest.raises(Unanswered, match="is not trusted"):
        join_with_token(false, "careful", tmp_path / "careful", wait_s=SHORT_S)
    home = enrolled(place, "wary", tmp_path / "wary")
    with pytest.raises(Unanswered, match="is not trusted"):
        renew_now(home, FEDGE_AGENT_RENEWAL__PORT=str(impostor.port))

    told: queue.SimpleQueue[object] = queue.SimpleQueue()
    url = f"mqtts://127.0.0.1:{impostor.port}"
    settings = AgentSettings.load(home / "agent.toml", {"FEDGE_AGENT_BROKER__URL": url})
    link = MqttTransport(settings.broker, "wary", told.put)
    link.open()
    down = told.get(timeout=WAIT_S)
    link.close()
    assert isinstance(down, LinkDown)
    assert "is not trusted" in down.reason
    impostor.close()
    assert impostor.visits >= 3
    assert impostor.heard == b""
