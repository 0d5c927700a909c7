"""The production configuration with real programs: from `fedge init` to an ONNX file over mutual TLS."""

import os
import socket
import ssl
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

import fleet
from fedge.wire.topics import Topics
from fleet.pki.enrolment import Revoked, enroll, revoke
from fleet.pki.publication import Signalled
from fleet.pki.removal import Left, forget, held
from fleet.pki.renewal import renew
from tests import milestones
from tests.system.audit import check_books, check_stores
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.probes import Member, tls
from tests.system.production import MOSQUITTO, Production, needs_mosquitto, production
from tests.wording import lines_telling

pytestmark = [pytest.mark.system, needs_mosquitto]

ROOT = Path(fleet.__file__).parents[1]
PATIENCE_S = 60.0
UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
CONNECT = bytes.fromhex("100d 0004 4d515454 05 02 003c 00 0000".replace(" ", ""))
"""MQTT 5, section 3.1: clean start, keep-alive 60 s, no properties, no client id."""


@pytest.fixture
def greenhouse() -> Iterator[Production]:
    with production() as made:
        yield made


def test_two_devices_learn_over_mutual_tls(greenhouse: Production, tmp_path: Path) -> None:
    with FleetOfProcesses(tmp_path / "fleet", greenhouse.broker, greenhouse) as fleet:
        fleet.configure(
            model=CLASSIFIER,
            rounds={"quorum": 2, "target": 2, "deadline_s": 60},
            stopping={"rounds": 3},
        )
        for number, name in enumerate(("pi-0", UUID)):
            fleet.device(name, *motions(number))
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        assert fleet.ends() == 0
        assert [row.devices for row in fleet.rounds()] == [2] * 4
        assert fleet.admitted(3) == {"pi-0", UUID}
        assert (fleet.export / "model.onnx").stat().st_size > 0
        assert check_books(fleet) == 3
        check_stores(fleet)
        assert lines_telling(fleet.log("pi-0"), milestones.CONNECTED, "mqtts://")


@pytest.mark.chaos
def test_a_second_aggregator_looks_around_under_its_own_name_and_gives_way(
    greenhouse: Production, tmp_path: Path
) -> None:
    """The broker names everybody after their certificate: with the aggregator's it would end its session."""
    with FleetOfProcesses(tmp_path / "fleet", greenhouse.broker, greenhouse) as fleet:
        for file, state in (("federation.toml", "state"), ("second.toml", "second")):
            fleet.configure(
                file,
                model=CLASSIFIER,
                rounds={"quorum": 2, "target": 2, "deadline_s": 300},
                stopping={"rounds": 1},
                state={"folder": state},
            )
        fleet.device("pi-0", *motions(0))
        fleet.device("pi-1", *motions(1))
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices("pi-0")
        fleet.until(lambda: fleet.admitted(0) == {"pi-0"}, "the survey lacks one device")
        fleet.start_aggregator(config="second.toml", name="second")
        assert fleet.ends("second") == os.EX_TEMPFAIL
        assert milestones.GIVES_WAY in fleet.log("second")
        fleet.start_devices("pi-1")
        assert fleet.ends() == 0
        assert fleet.connections() == 1, "the first was never disturbed"


def test_the_top_level_file_runs_as_it_is_in_the_federations_folder(greenhouse: Production) -> None:
    """Its paths are relative to that folder; only the ports are others here."""
    greenhouse.broker.stop()
    text = (ROOT / "mosquitto.conf").read_text(encoding="utf-8")
    for number, port in ((8883, greenhouse.port), (8884, greenhouse.provisioning_port)):
        assert text.count(f"\nlistener {number}\n") == 1
        text = text.replace(f"\nlistener {number}\n", f"\nlistener {port}\n")
    copy = greenhouse.folder.root.parent / "mosquitto.conf"
    copy.write_text(text, encoding="utf-8")
    assert MOSQUITTO is not None
    log = greenhouse.folder.root.parent / "top-level.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [MOSQUITTO, "-c", str(copy)], cwd=greenhouse.folder.root, stdout=output, stderr=output
        )
    try:
        _until(lambda: _answers(greenhouse.port) or process.poll() is not None, "it listens")
        assert process.poll() is None, log.read_text()
        assert _handshake(greenhouse, greenhouse.home("pi-1") / "identity.pem")
        with pytest.raises(OSError, match=r"(?i)required|CONNACK|reset|EOF|pipe"):
            _handshake(greenhouse, None)
        old = greenhouse.tls(greenhouse.identity("pi-1"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        for port in (greenhouse.port, greenhouse.provisioning_port):
            with (
                socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plain,
                pytest.raises(ssl.SSLError, match="VERSION"),
            ):
                old.wrap_socket(plain, server_hostname="127.0.0.1")
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Speaker:
    """A client that publishes to its own topic as fast as it is acknowledged, until it is stopped."""

    def __init__(self, client: mqtt.Client, topic: str, port: int) -> None:
        self.refused = threading.Event()
        self.accepted = 0
        self.last_accepted_s = 0.0
        self.lost = threading.Event()
        self._client, self._topic = client, topic
        client.on_connect = lambda *_: self._say()
        client.on_publish = self._answered
        client.on_disconnect = lambda *_: self.lost.set()
        client.connect("127.0.0.1", port)
        client.loop_start()

    def _say(self) -> None:
        self._client.publish(self._topic, b"x", qos=1)

    def _answered(self, _client: object, _data: object, _mid: int, code: object, _properties: object) -> None:
        if getattr(code, "is_failure", False):
            self.refused.set()
        else:
            self.accepted += 1
            self.last_accepted_s = time.monotonic()
        self._say()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.mark.chaos  # for its dozen seconds
def test_a_revoked_device_is_mute_and_deaf_at_once_and_cannot_come_back(greenhouse: Production) -> None:
    topics = Topics("greenhouse")
    heard: list[bytes] = []
    aggregator = greenhouse.client("aggregator")
    aggregator.on_message = lambda _client, _data, message: heard.append(message.payload)
    aggregator.connect("127.0.0.1", greenhouse.port)
    aggregator.subscribe(topics.all_updates, qos=1)
    aggregator.loop_start()
    stolen = greenhouse.client("pi-1")
    told: list[bytes] = []
    stolen.on_message = lambda _client, _data, message: told.append(message.payload)
    subscribed = threading.Event()
    stolen.on_subscribe = lambda *_: subscribed.set()
    thief = Member(greenhouse.port, tls(greenhouse.folder.ca, greenhouse.identity("pi-1")))
    other = greenhouse.client("pi-2")
    speaker = Speaker(stolen, topics.update("pi-1"), greenhouse.port)
    neighbour = Speaker(other, topics.update("pi-2"), greenhouse.port)
    try:
        _until(lambda: speaker.accepted > 20 and len(heard) > 20, "it is heard")
        stolen.subscribe(topics.round, qos=1)
        assert subscribed.wait(PATIENCE_S), "it may not listen"
        aggregator.publish(topics.round, b"before", qos=1).wait_for_publish(PATIENCE_S)
        _until(lambda: told == [b"before"], "it hears")

        began_s = time.monotonic()
        assert revoke(greenhouse.folder, "pi-1") == Revoked(Signalled.YES)

        by_then = speaker.accepted
        assert speaker.lost.wait(PATIENCE_S), "its connection stays"
        late_ms = (speaker.last_accepted_s - began_s) * 1000
        print(f"its last message was accepted {late_ms:.1f} ms after `revoke` was called")
        accepted, beside = speaker.accepted, neighbour.accepted
        # What was accepted before may be told only now: it says one thing at a time.
        assert accepted <= by_then + 1, "not even when `revoke` has returned"
        aggregator.publish(topics.round, b"after", qos=1).wait_for_publish(PATIENCE_S)
        _until(lambda: neighbour.accepted > beside + 100, "the neighbour goes on")
        assert speaker.accepted == accepted, "a revoked device was heard"
        assert told == [b"before"], "a revoked device was told something"
        assert not neighbour.lost.is_set()
        assert not neighbour.refused.is_set()
        assert "certificate revoked" in thief.knock()
        assert enroll(greenhouse.folder, "pi-1", again=True).signalled is Signalled.YES
        assert "certificate revoked" in thief.knock()
        assert speaker.accepted == accepted, "the name was enrolled anew, and the thief speaks again"
        assert not neighbour.lost.is_set()
    finally:
        for client in (speaker, neighbour):
            client.stop()
        aggregator.disconnect()
        aggregator.loop_stop()


@pytest.mark.slow
def test_no_round_waits_for_a_device_that_was_revoked(greenhouse: Production, tmp_path: Path) -> None:
    """Its retained status said that it is online, and it can no longer say anything else."""
    with FleetOfProcesses(tmp_path / "fleet", greenhouse.broker, greenhouse) as fleet:
        fleet.configure(model=CLASSIFIER, rounds={"quorum": 2, "deadline_s": 300}, stopping={"rounds": 2})
        for number in range(3):
            fleet.device(f"pi-{number}", *motions(number))
        fleet.devices["pi-2"].hold(2)
        fleet.start_devices()
        fleet.until_connected()
        fleet.start_aggregator("--exit-when-done")
        fleet.until(lambda: fleet.admitted(1) == {"pi-0", "pi-1"}, "round 1 lacks only who was stolen")
        fleet.until(lambda: fleet.devices["pi-2"].reads == 2, "who is at work")
        assert revoke(greenhouse.folder, "pi-2") == Revoked(Signalled.YES)
        assert fleet.ends() == 0
        assert [row.devices for row in fleet.rounds()] == [3, 2, 2]
        assert not fleet.seen()["pi-2"].online
        fleet.until(lambda: fleet.is_cut_off("pi-2"), "its connection is ended")


@pytest.mark.slow
def test_a_forgotten_device_is_cut_off_and_its_status_erased(greenhouse: Production, tmp_path: Path) -> None:
    topics, heard = Topics("greenhouse"), dict[str, bytes]()
    with FleetOfProcesses(tmp_path / "fleet", greenhouse.broker, greenhouse) as fleet:
        for number in range(2):
            fleet.device(f"pi-{number}", *motions(number))
        fleet.start_devices()
        watch = greenhouse.client("observer")
        watch.on_message = lambda _client, _data, message: heard.update({message.topic: message.payload})
        watch.connect("127.0.0.1", greenhouse.port)
        watch.subscribe(topics.all_statuses, qos=1)
        watch.loop_start()
        try:
            _until(lambda: {topics.status("pi-0"), topics.status("pi-1")} <= heard.keys(), "both tell")
            assert held(greenhouse.folder, "pi-1").enrolled
            assert forget(greenhouse.folder, "pi-1") == Left(certificates=True, status=None)
            _until(lambda: heard[topics.status("pi-1")] == b"", "its status is erased")
            fleet.until(lambda: fleet.is_cut_off("pi-1"), "its connection is ended")
            assert heard[topics.status("pi-0")]
        finally:
            watch.disconnect()
            watch.loop_stop()
        heard.clear()
        again = greenhouse.client("observer")
        again.on_message = lambda _client, _data, message: heard.update({message.topic: message.payload})
        again.connect("127.0.0.1", greenhouse.port)
        again.subscribe(topics.all_statuses, qos=1)
        again.loop_start()
        try:
            _until(lambda: topics.status("pi-0") in heard, "what is retained comes")
            assert topics.status("pi-1") not in heard
        finally:
            again.disconnect()
            again.loop_stop()
        thief = Member(greenhouse.port, tls(greenhouse.folder.ca, greenhouse.identity("pi-1")))
        assert "certificate revoked" in thief.knock()


def test_renewed_certificates_are_shown_and_taken_and_nobody_is_cut_off(greenhouse: Production) -> None:
    topics, heard = Topics("greenhouse"), []
    aggregator = greenhouse.client("aggregator")
    aggregator.on_message = lambda _client, _data, message: heard.append(message.payload)
    aggregator.connect("127.0.0.1", greenhouse.port)
    aggregator.subscribe(topics.all_updates, qos=1)
    aggregator.loop_start()
    device = Speaker(greenhouse.client("pi-1"), topics.update("pi-1"), greenhouse.port)
    try:
        _until(lambda: len(heard) > 5, "it is heard")
        before = _handshake(greenhouse, greenhouse.identity("registrar"))
        renewals, signalled = renew(greenhouse.folder, force=True)
        assert signalled is Signalled.YES
        shown = {
            renewal.issued.serial for renewal in renewals if renewal.path.parent == greenhouse.folder.broker
        }
        _until(
            lambda: _handshake(greenhouse, greenhouse.identity("registrar")) in shown, "the new one is shown"
        )
        assert before not in shown
        so_far = len(heard)
        _until(lambda: len(heard) > so_far + 5, "both go on")
        assert not device.lost.is_set()
    finally:
        device.stop()
        aggregator.disconnect()
        aggregator.loop_stop()


def _handshake(place: Production, identity: Path | None) -> str:
    """Connect, and read what the broker says: with TLS 1.3 a client hears of its refusal only then.

    Returns:
        The serial number of the broker's certificate.
    """
    with (
        socket.create_connection(("127.0.0.1", place.port), timeout=PATIENCE_S) as plain,
        place.tls(identity).wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(CONNECT)
        if secure.recv(1) != b"\x20":
            raise ConnectionRefusedError("no CONNACK")
        shown = secure.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"]).lower().lstrip("0")


def _until(condition, what: str) -> None:  # type: ignore[no-untyped-def]
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"this did not happen: {what}"
        time.sleep(0.005)
