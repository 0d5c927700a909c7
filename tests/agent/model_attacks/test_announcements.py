"""Fault 72: what is done to devices so that they take another model than their aggregator's newest.

The names of attacks are those of The Update Framework (section 1.5.2 of its specification at
https://theupdateframework.github.io/specification/latest/), whose client tests are the pattern: an attacker
owns the broker, and the device stays with the last good model, says why once, and goes on with the next
authentic round."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fedge.identity.trust import Signer, succession
from fedge.wire.freshness import RoundId
from fedge.wire.messages.envelope import Signed, Succession, seal
from fedge.wire.messages.export import Export
from fedge.wire.messages.message import pack, unpack
from fedge.wire.topics import Topics
from tests.agent.besieged import LAB, Device, Federation, blob, frames, manifest, model
from tests.agent.model_attacks.attackers import ROUND, Messages, with_model

Attack = Callable[[Federation, Path], list[Messages]]

ELSEWHERE = Topics("elsewhere")


def stranger(folder: Path) -> Signer:
    """Somebody with a key of his own, who knows all that is public."""
    return Federation(folder / "stranger").signer


def by_another_federations_key(_lab: Federation, folder: Path) -> list[Messages]:
    other = Federation(folder / "elsewhere", ELSEWHERE).signer
    return [with_model(9, other.seal(manifest(9), "round"))]


def for_another_federation(lab: Federation, _folder: Path) -> list[Messages]:
    """Two federations share one key, and what is said in one is repeated in the other."""
    shared = replace(lab.signer, topics=ELSEWHERE)
    return [with_model(9, shared.seal(manifest(9), "round"))]


def for_another_topic(lab: Federation, _folder: Path) -> list[Messages]:
    return [with_model(9, lab.signer.seal(manifest(9), "export"))]


def an_export_as_announcement(lab: Federation, _folder: Path) -> list[Messages]:
    export = Export(generation=1, round=9, model=blob(model(9), 1).digest, withheld="as usual")
    return [with_model(9, lab.signer.seal(export, "export"))]


def arbitrary_model(_lab: Federation, folder: Path) -> list[Messages]:
    return [with_model(9, stranger(folder).seal(manifest(9), "round"))]


def the_stranger_as_successor(lab: Federation, folder: Path) -> list[Messages]:
    """He names himself the next: his own signature stands where the old key's should."""
    thief = stranger(folder)
    forged = Succession(
        old=lab.signer.public, new=thief.public, sig=thief.sign(LAB.signing_context("key") + thief.public)
    )
    return [with_model(9, replace(thief, chain=(forged,)).seal(manifest(9), "round"))]


def a_succession_of_another_federation(lab: Federation, folder: Path) -> list[Messages]:
    """The key named him in another federation, not in this one."""
    thief = stranger(folder)
    elsewhere = succession(ELSEWHERE, lab.signer.public, lab.signer.sign, thief.public)
    return [with_model(9, replace(thief, chain=(elsewhere,)).seal(manifest(9), "round"))]


def an_announcement_as_succession(lab: Federation, folder: Path) -> list[Messages]:
    """A signature of an announcement stands where that of a key should."""
    thief = stranger(folder)
    (signature,) = unpack(lab.announcement(2), Signed).sigs
    mixed = Succession(old=lab.signer.public, new=thief.public, sig=signature)
    return [with_model(9, replace(thief, chain=(mixed,)).seal(manifest(9), "round"))]


def a_chain_with_a_gap(lab: Federation, folder: Path) -> list[Messages]:
    thief, other = stranger(folder / "a"), stranger(folder / "b")
    links = (
        Succession(old=lab.signer.public, new=other.public, sig=b"s" * 64),
        Succession(old=thief.public, new=thief.public, sig=b"s" * 64),
    )
    return [with_model(9, replace(thief, chain=links).seal(manifest(9), "round"))]


def an_endless_chain(lab: Federation, folder: Path) -> list[Messages]:
    thief = stranger(folder)
    link = Succession(old=lab.signer.public, new=lab.signer.public, sig=b"s" * 64)
    sealed = Signed.model_construct(body=pack(manifest(9)), sigs=(thief.sign(b""),), chain=(link,) * 200)
    return [with_model(9, pack(sealed))]


def signatures(*sigs: bytes) -> Attack:
    def attack(_lab: Federation, _folder: Path) -> list[Messages]:
        return [with_model(9, pack(Signed.model_construct(body=pack(manifest(9)), sigs=sigs)))]

    return attack


def the_right_signature_under_another_body(lab: Federation, _folder: Path) -> list[Messages]:
    return [
        with_model(9, pack(Signed(body=pack(manifest(9)), sigs=unpack(lab.announcement(2), Signed).sigs)))
    ]


def an_envelope_in_an_envelope(lab: Federation, _folder: Path) -> list[Messages]:
    return [with_model(2, seal(unpack(lab.announcement(2), Signed)))]


def cut_short(lab: Federation, _folder: Path) -> list[Messages]:
    whole = lab.announcement(9)
    return [{ROUND: whole[:end]} for end in range(1, len(whole), 7)]


def with_something_after_it(lab: Federation, _folder: Path) -> list[Messages]:
    return [with_model(9, lab.announcement(9) + b"\0")]


def endless_announcement(lab: Federation, _folder: Path) -> list[Messages]:
    envelope = unpack(lab.announcement(9), Signed)
    return [{ROUND: pack(envelope.model_copy(update={"body": envelope.body + bytes(200_000)}))}]


def rolled_back(lab: Federation, _folder: Path) -> list[Messages]:
    return [lab.says(1)]


def an_earlier_attempt(lab: Federation, _folder: Path) -> list[Messages]:
    """How the round was opened that has ended since, with the model of the round before."""
    before = blob(model(1), 1)
    opened = lab.signer.seal(manifest(2, attempt=0, state="open", model=before), "round")
    return [{**frames(1), ROUND: opened}]


ATTACKS: dict[str, tuple[Attack, str]] = {
    "unsigned": (lambda _lab, _folder: [with_model(9, seal(manifest(9)))], "not signed, and this device"),
    "no envelope": (lambda _lab, _folder: [with_model(9, pack(manifest(9)))], "where 'signed' was expected"),
    "arbitrary model": (arbitrary_model, "not signed with the key"),
    "another federation's key": (by_another_federations_key, "not signed with the key"),
    "said in another federation": (for_another_federation, "not signed with the key"),
    "said on another topic": (for_another_topic, "not signed with the key"),
    "an export as announcement": (an_export_as_announcement, "not signed with the key"),
    "another body under the signature": (the_right_signature_under_another_body, "not signed with the key"),
    "an envelope in an envelope": (an_envelope_in_an_envelope, "not signed, and this device"),
    "eight signatures of nobody": (
        signatures(*[bytes([i]) * 64 for i in range(8)]),
        "not signed with the key",
    ),
    "nine signatures": (signatures(*[b"s" * 64] * 9), "sigs: Tuple should have at most 8"),
    "an endless signature": (signatures(b"s" * 100_000), "not signed with the key"),
    "an empty signature": (signatures(b""), "not signed with the key"),
    "a stranger as successor": (the_stranger_as_successor, "did not name"),
    "a succession of another federation": (a_succession_of_another_federation, "did not name"),
    "an announcement as succession": (an_announcement_as_succession, "did not name"),
    "a chain with a gap": (a_chain_with_a_gap, "do not follow each other"),
    "an endless chain": (an_endless_chain, "chain: Tuple should have at most 16"),
    "cut short": (cut_short, "cut short"),
    "something after it": (with_something_after_it, "trailing bytes"),
    "endless announcement": (endless_announcement, "more than the 131072 allowed"),
    "rolled back": (rolled_back, "this device has seen round 1.2"),
    "rolled back within a round": (an_earlier_attempt, "this device has seen round 1.2, attempt 1"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_fault_72_an_attack_changes_nothing_and_is_said_once(
    name: str, device: Device, lab: Federation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attack, text = ATTACKS[name]
    for again in (False, True):
        caplog.clear()
        if again:
            device.restart()  # all that is retained is the attacker's
        for messages in attack(lab, tmp_path) * 25:
            device.hears(messages)
        assert (device.holds, device.seen.round, device.worked) == (model(2), RoundId(1, 2), [])
        warnings = [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING]
        assert len(warnings) == 1, warnings
        assert text in warnings[0]
    device.hears(lab.says(3))
    assert (device.holds, device.seen.round) == (model(3), RoundId(1, 3))


def test_there_are_enough_attacks() -> None:
    assert len(ATTACKS) >= 12


@pytest.mark.parametrize("name", ["unsigned", "arbitrary model", "said on another topic", "rolled back"])
def test_without_a_pinned_key_only_numbers_keep_a_liar_off(
    name: str, lab: Federation, tmp_path: Path
) -> None:
    """So it is the key that did, above."""
    device = Device(tmp_path / "device", None)
    device.hears(lab.says(2), *ATTACKS[name][0](lab, tmp_path))
    assert device.holds == (model(2) if name == "rolled back" else model(9))


# ── numbers ────────────────────────────────────────────────────────────────────────────────────────


def test_fault_72_a_generation_does_not_come_back(device: Device, lab: Federation) -> None:
    device.hears(lab.says(0, generation=2), lab.says(99, generation=1))
    assert (device.holds, device.seen.round) == (model(0, 2), RoundId(2, 0))
    device.restart()
    assert (device.holds, device.seen.round) == (model(0, 2), RoundId(2, 0))
    device.hears(lab.says(1, generation=2))
    assert device.holds == model(1, 2)


def test_fault_72_frozen_the_same_bytes_again_are_neither_refused_nor_worked_on(
    device: Device, lab: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    """Silence and a broker that holds all back look alike; but the device says which round it stands at."""
    written, said = (device.folder / "agent.db-wal").stat().st_size, len(device.broker.said)
    caplog.clear()
    for _ in range(1_000):
        device.hears({ROUND: device.broker.retained[ROUND]})
    assert (device.holds, device.worked, caplog.messages) == (model(2), [], [])
    assert (device.folder / "agent.db-wal").stat().st_size == written
    assert len(device.broker.said) == said
    assert (device.status.generation, device.status.round) == (1, 2)
    device.hears(lab.says(3))
    assert device.holds == model(3)
