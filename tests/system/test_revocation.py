"""Who is revoked or forgotten is mute and deaf at once, and no round waits for it; over mutual TLS."""

import threading
import time
from pathlib import Path

import pytest

from fedge.wire.topics import Topics
from fleet.pki.enrolment import enroll
from fleet.pki.publication import Signalled
from fleet.pki.removal import Left, forget, held
from fleet.pki.revocation import Revocation, revoke
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.probes import Member, tls
from tests.system.production import Production, needs_mosquitto
from tests.system.speakers import PATIENCE_S, Speaker, until

pytestmark = [pytest.mark.system, needs_mosquitto]


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
        until(lambda: speaker.accepted > 20 and len(heard) > 20, "it is heard")
        stolen.subscribe(topics.round, qos=1)
        assert subscribed.wait(PATIENCE_S), "it may not listen"
        aggregator.publish(topics.round, b"before", qos=1).wait_for_publish(PATIENCE_S)
        until(lambda: told == [b"before"], "it hears")

        began_s = time.monotonic()
        assert revoke(greenhouse.folder, "pi-1") == Revocation(Signalled.YES)

        by_then = speaker.accepted
        assert speaker.lost.wait(PATIENCE_S), "its connection stays"
        late_ms = (speaker.last_accepted_s - began_s) * 1000
        print(f"its last message was accepted {late_ms:.1f} ms after `revoke` was called")
        accepted, beside = speaker.accepted, neighbour.accepted
        # What was accepted before may be told only now: it says one thing at a time.
        assert accepted <= by_then + 1, "not even when `revoke` has returned"
        aggregator.publish(topics.round, b"after", qos=1).wait_for_publish(PATIENCE_S)
        until(lambda: neighbour.accepted > beside + 100, "the neighbour goes on")
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
        assert revoke(greenhouse.folder, "pi-2") == Revocation(Signalled.YES)
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
            until(lambda: {topics.status("pi-0"), topics.status("pi-1")} <= heard.keys(), "both tell")
            assert held(greenhouse.folder, "pi-1").enrolled
            assert forget(greenhouse.folder, "pi-1") == Left(certificates=True, status=None)
            until(lambda: heard[topics.status("pi-1")] == b"", "its status is erased")
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
            until(lambda: topics.status("pi-0") in heard, "what is retained comes")
            assert topics.status("pi-1") not in heard
        finally:
            again.disconnect()
            again.loop_stop()
        thief = Member(greenhouse.port, tls(greenhouse.folder.ca, greenhouse.identity("pi-1")))
        assert "certificate revoked" in thief.knock()
