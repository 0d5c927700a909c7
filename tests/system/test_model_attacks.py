"""Fault 72 at a real broker that lets anybody write: real programs stay with their aggregator's models.

What each attack is made of stands in tests/agent/model_attacks/; here they come retained over MQTT.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from aggregator.shell.signing import read_signer
from fedge.identity import ed25519
from fedge.identity.trust import authenticate, fingerprint
from fedge.wire.frames import split
from fedge.wire.freshness import round_of
from fedge.wire.messages.envelope import Signed, seal, unseal
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.topics import Topics
from fleet.demo import broker as brokers
from fleet.demo.broker import Broker
from fleet.pki.signing_key import make_signing_key
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses, query
from tests.system.signing import Keys, change_key
from tests.system.wiretap import Wiretap
from tests.wording import lines_telling

pytestmark = pytest.mark.system

NAME = "signed"
TOPICS = Topics(NAME)
WEIGHTS = 5 * 12 + 12 + 12 * 3 + 3
"""p of `CLASSIFIER`."""
SEEN = "SELECT round FROM seen"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One kind is enough: what is signed here no broker looks at."""
    with brokers.start("auto", tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def fleet(broker: Broker, tmp_path: Path) -> Iterator[FleetOfProcesses]:
    keys = Keys.made(tmp_path, NAME)
    with FleetOfProcesses(tmp_path / "fleet", broker, keys) as fleet:
        for number in range(2):
            fleet.device(f"device-{number}", *motions(number))
        yield fleet


def learn(fleet: FleetOfProcesses, rounds: int) -> bytes:
    """Serve until so many rounds are closed and all who run hold the last model; returns its digest."""
    if "aggregator" in fleet.programs:
        fleet.terminate("aggregator")
    fleet.configure(
        model=CLASSIFIER,
        rounds={"quorum": 1, "target": 1, "deadline_s": 60.0},
        stopping={"rounds": rounds},
    )
    fleet.start_aggregator()
    fleet.until(lambda: len([row for row in fleet.rounds() if row.closed]) == rounds + 1, f"{rounds} rounds")
    final = fleet.final_model()
    running = [device for name, device in fleet.devices.items() if name in fleet.programs]
    fleet.until(lambda: all(device.held_model() == final for device in running), "all follow")
    return final


def poisoned(genuine: Manifest) -> tuple[Manifest, dict[str, bytes]]:
    """A later announcement, of a model that ruins all, and that model's frames."""
    assert genuine.model is not None
    later = genuine.round + 5
    body = np.full(WEIGHTS, 1e9, "<f4").tobytes()
    message = pack(Model(generation=genuine.generation, round=later - 1, body=body))
    pieces, slot = split(message), 1 - genuine.model.slot
    blob = Blob(digest=pieces.id, slot=slot, frames=len(pieces), size=len(message))
    lie = genuine.model_copy(update={"round": later, "model": blob})
    return lie, {TOPICS.model(slot, i): pieces[i] for i in range(len(pieces))}


def attacked(fleet: FleetOfProcesses, tap: Wiretap, *payloads: bytes, frames: Mapping[str, bytes]) -> None:
    """Leave the frames and each announcement at the broker, some times; the last one stays there."""
    for topic, payload in frames.items():
        tap.say(topic, payload, retain=True)
    for payload in payloads:
        for _ in range(5):
            tap.say(TOPICS.round, payload, retain=True)


def warnings(fleet: FleetOfProcesses, name: str, text: str) -> int:
    return sum(text in line and " WARNING " in line for line in fleet.log(name).splitlines())


@pytest.mark.slow
def test_fault_72_a_fleet_stays_with_its_model_and_goes_on_with_the_next(
    fleet: FleetOfProcesses, tmp_path: Path
) -> None:
    names = list(fleet.devices)
    with Wiretap(fleet) as tap:
        fleet.start_devices()
        learn(fleet, 1)
        old = tap.latest[TOPICS.round]
        good = learn(fleet, 2)
        genuine = unseal(tap.latest[TOPICS.round], Manifest)
        lie, frames = poisoned(genuine)
        make_signing_key(tmp_path / "thief.key")
        thief = read_signer(tmp_path / "thief.key", TOPICS)
        fleet.until(lambda: TOPICS.export in tap.latest, "a file is exported")
        export = tap.latest[TOPICS.export]
        pinned = (ed25519.read_public_key(tmp_path / "pinned.pub"),)
        assert authenticate(unpack(export, Signed), "export", TOPICS, pinned, ed25519.verify) == pinned
        lies = [seal(lie), thief.seal(lie, "round"), old, tap.latest[TOPICS.round][:-1], export]
        attacked(fleet, tap, *lies, thief.seal(lie, "round"), frames=frames)
        reasons = ("not signed, and", "not signed with the key", "this device has seen round", "cut short")
        for name in names:
            for reason in reasons:
                fleet.until(lambda n=name, r=reason: warnings(fleet, n, r) > 0, f"{name} says: {reason}")  # type: ignore[misc]
        fleet.kill(names[0])
        fleet.start_devices(names[0])  # and what it finds there is the thief's
        fleet.until(lambda: warnings(fleet, names[0], reasons[1]) == 2, "it says so once more")
        assert {name: fleet.devices[name].held_model() for name in names} == dict.fromkeys(names, good)
        assert [warnings(fleet, names[1], reason) for reason in reasons] == [1, 1, 1, 1]
        # The aggregator finds it there too, with a round that is ahead of its ledger, and is not misled.
        final = learn(fleet, 3)
        assert warnings(fleet, "aggregator", "not signed with the key") == 1
        assert final != good
        fleet.until(
            lambda: (status := tap.status(names[1])) is not None and round_of(status) >= (1, 3),
            "and says so",
        )


@pytest.mark.slow
def test_fault_72_fast_forward_is_undone_by_a_change_of_the_key(fleet: FleetOfProcesses) -> None:
    """Every device has seen the last round there can be, and says so; still the fleet goes on."""
    names = list(fleet.devices)
    with Wiretap(fleet) as tap:
        fleet.start_devices()
        learn(fleet, 1)
        fleet.terminate("aggregator")
        stolen = read_signer(fleet.folder.parent / "signing.key", TOPICS)
        last = {"generation": 2**31 - 1, "round": 2**31 - 1, "state": "closed"}
        genuine = unseal(tap.latest[TOPICS.round], Manifest)
        attacked(fleet, tap, stolen.seal(genuine.model_copy(update=last), "round"), frames={})
        for name in names:
            database = fleet.devices[name].folder / "state" / "agent.db"
            fleet.until(lambda d=database: query(d, SEEN) == [(2**31 - 1,)], f"{name} has seen it")  # type: ignore[misc]
            fleet.terminate(name)
        fleet.start_devices()
        fleet.until(
            lambda: all((told := tap.status(name)) is not None and told.round == 2**31 - 1 for name in names),
            "all say so",
        )
        change_key(fleet)
        learn(fleet, 2)


@pytest.mark.slow
def test_fault_72_a_stolen_key_is_worth_nothing_once_it_was_changed(fleet: FleetOfProcesses) -> None:
    awake, asleep = fleet.devices
    with Wiretap(fleet) as tap:
        fleet.start_devices()
        learn(fleet, 1)
        fleet.terminate(asleep)
        stolen = read_signer(fleet.folder.parent / "signing.key", TOPICS)
        stolen_pem = (fleet.folder.parent / "signing.key").read_bytes()
        change_key(fleet)
        good = learn(fleet, 2)
        lie, frames = poisoned(unseal(tap.latest[TOPICS.round], Manifest))
        attacked(fleet, tap, stolen.seal(lie, "round"), frames=frames)
        fleet.until(lambda: warnings(fleet, awake, "has replaced") == 1, "the awake one says who signed")
        assert fleet.devices[awake].held_model() == good
        final = learn(fleet, 3)
        genuine = tap.latest[TOPICS.round]
        fleet.start_devices(asleep)
        sleeper = fleet.devices[asleep]
        fleet.until(lambda: sleeper.held_model() == final, "the sleeper follows from the key it pins")
        now = fingerprint(read_signer(fleet.folder.parent / "signing.key", TOPICS).public)
        for name in (awake, asleep):
            assert warnings(fleet, name, f"models are signed with the key {now} now") == 1
        attacked(fleet, tap, stolen.seal(lie, "round"), frames={})
        fleet.until(lambda: warnings(fleet, asleep, "has replaced") == 1, "so does the sleeper now")
        assert sleeper.held_model() == final
        # An aggregator that is given the old key again, as by a restore, is told why nobody follows.
        tap.say(TOPICS.round, genuine, retain=True)
        key = fleet.folder.parent / "signing.key"
        key.write_bytes(stolen_pem)
        fleet.terminate("aggregator")
        fleet.start_aggregator()
        fleet.until(
            lambda: bool(lines_telling(fleet.log(), "signing key", "[signing] key")), "it says what is wrong"
        )
        assert sleeper.held_model() == final
