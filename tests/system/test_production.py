"""The production configuration with real programs: from `fedge init` to an ONNX file over mutual TLS."""

import os
import socket
import ssl
import subprocess
import warnings
from pathlib import Path

import pytest

import fleet
from fedge.wire.topics import Topics
from fleet.pki.publication import Signalled
from fleet.pki.renewal import renew
from tests.milestones import CONNECTED, GIVES_WAY
from tests.system.audit import check_books, check_stores
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.production import MOSQUITTO, Production, needs_mosquitto
from tests.system.speakers import PATIENCE_S, Speaker, until
from tests.wording import lines_telling

pytestmark = [pytest.mark.system, needs_mosquitto]

ROOT = Path(fleet.__file__).parents[1]
UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
CONNECT = bytes.fromhex("100d 0004 4d515454 05 02 003c 00 0000".replace(" ", ""))
"""MQTT 5, section 3.1: clean start, keep-alive 60 s, no properties, no client id."""


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
        assert lines_telling(fleet.log("pi-0"), CONNECTED, "mqtts://")


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
        assert GIVES_WAY in fleet.log("second")
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
        until(lambda: _answers(greenhouse.port) or process.poll() is not None, "it listens")
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


def test_renewed_certificates_are_shown_and_taken_and_nobody_is_cut_off(greenhouse: Production) -> None:
    topics, heard = Topics("greenhouse"), []
    aggregator = greenhouse.client("aggregator")
    aggregator.on_message = lambda _client, _data, message: heard.append(message.payload)
    aggregator.connect("127.0.0.1", greenhouse.port)
    aggregator.subscribe(topics.all_updates, qos=1)
    aggregator.loop_start()
    device = Speaker(greenhouse.client("pi-1"), topics.update("pi-1"), greenhouse.port)
    try:
        until(lambda: len(heard) > 5, "it is heard")
        before = _handshake(greenhouse, greenhouse.identity("registrar"))
        renewals, signalled = renew(greenhouse.folder, force=True)
        assert signalled is Signalled.YES
        shown = {
            renewal.issued.serial for renewal in renewals if renewal.path.parent == greenhouse.folder.broker
        }
        until(
            lambda: _handshake(greenhouse, greenhouse.identity("registrar")) in shown, "the new one is shown"
        )
        assert before not in shown
        so_far = len(heard)
        until(lambda: len(heard) > so_far + 5, "both go on")
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
