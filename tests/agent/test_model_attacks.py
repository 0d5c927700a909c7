"""Fault 72: what is done to devices so that they take another model than their aggregator's newest.

The names of attacks are those of The Update Framework (section 1.5.2 of its specification at
https://theupdateframework.github.io/specification/latest/), whose client tests are the pattern: an attacker
owns the broker, and the device stays with the last good model, says why once, and goes on with the next
authentic round.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent.shell.memory import Memory
from fedge.algorithms.plan import Plan
from fedge.errors import ConfigError, StateError
from fedge.identity import ed25519
from fedge.identity.trust import Signer, Signers, succession
from fedge.wire.frames import split
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.envelope import Signed, Succession, seal
from fedge.wire.messages.export import Export
from fedge.wire.messages.fields import MAX_FRAMES
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.topics import Topics
from tests.agent.besieged import LAB, Device, Federation, blob, frames, manifest, model
from tests.wording import assert_tells, telling

ROUND = LAB.round
Messages = dict[str, bytes]
Attack = Callable[[Federation, Path], list[Messages]]
ELSEWHERE = Topics("elsewhere")


@pytest.fixture
def lab(tmp_path: Path) -> Federation:
    return Federation(tmp_path / "lab")


@pytest.fixture
def device(tmp_path: Path, lab: Federation) -> Iterator[Device]:
    """It has followed two rounds."""
    device = Device(tmp_path / "device", lab.pin)
    device.hears(lab.says(1), lab.says(2))
    assert (device.holds, device.seen.round) == (model(2), RoundId(1, 2))
    yield device
    assert device.memory is not None
    device.memory.close()


def stranger(folder: Path) -> Signer:
    """Somebody with a key of his own, who knows all that is public."""
    return Federation(folder / "stranger").signer


def with_model(round_: int, envelope: bytes) -> Messages:
    """An announcement with all that it announces."""
    return {**frames(round_), ROUND: envelope}


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


# ── what is announced and what is there ────────────────────────────────────────────────────────────


def forged(message: bytes, genuine: bytes) -> list[bytes]:
    """Frames that claim to be of `genuine`, and hold something else."""
    wrong, right = split(message, 32), split(genuine, 32)
    of_right = [unpack(piece, Frame) for piece in right]
    return [
        pack(frame.model_copy(update={"data": unpack(piece, Frame).data}))
        for frame, piece in zip(of_right, wrong, strict=True)
    ]


def other_models_frames(_lab: Federation) -> list[bytes]:
    return list(split(model(1), 32))


def frames_that_lie_about_their_model(_lab: Federation) -> list[bytes]:
    return forged(model(1), model(3))


def one_flipped_bit(_lab: Federation) -> list[bytes]:
    pieces = [bytearray(piece) for piece in split(model(3), 32)]
    pieces[1][-1] ^= 1
    return [bytes(piece) for piece in pieces]


def cut_in_another_way(_lab: Federation) -> list[bytes]:
    """One frame that is possible by itself, and contradicts all genuine ones."""
    genuine = unpack(split(model(3), 32)[0], Frame)
    return [pack(genuine.model_copy(update={"data": genuine.data + b"x"}))]


def one_is_missing(_lab: Federation) -> list[bytes]:
    return list(split(model(3), 32))[:-1]


def endless(_lab: Federation) -> list[bytes]:
    """More frames than any message has, each as large as a payload may be."""
    claims = Frame(id=b"e" * 32, i=0, n=MAX_FRAMES, size=MAX_FRAMES * 100_000, data=bytes(100_000))
    return [pack(claims.model_copy(update={"id": bytes([i]) * 32})) for i in range(200)]


@pytest.mark.parametrize(
    "frames_of",
    [
        other_models_frames,
        frames_that_lie_about_their_model,
        one_flipped_bit,
        cut_in_another_way,
        one_is_missing,
        endless,
    ],
)
def test_fault_72_mixed_and_matched_an_authentic_announcement_with_other_frames(
    frames_of: Callable[[Federation], list[bytes]],
    device: Device,
    lab: Federation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.clear()
    genuine = lab.says(3)
    device.hears(dict.fromkeys(frames(1), b""), {ROUND: genuine[ROUND]})
    for _ in range(10):
        for i, piece in enumerate(frames_of(lab)):
            device.hears({LAB.model(1, i): piece})
            held_bytes = device.runtime._downloads.incomplete_bytes
            assert held_bytes < 10_000, "it sets aside what was announced, and nothing else"
    device.waits(20.0)
    assert (device.holds, device.worked) == (model(2), [])
    assert len([line for line in caplog.records if line.levelno >= logging.WARNING]) <= 1
    device.restart()
    assert device.holds == model(2)
    device.hears(genuine)
    device.waits(20.0)
    assert device.holds == model(3)


def test_a_cleared_announcement_says_nothing(device: Device, lab: Federation) -> None:
    device.hears({ROUND: b""}, dict.fromkeys(frames(2), b""))
    device.restart()
    assert (device.holds, device.seen.round) == (model(2), RoundId(1, 2))


# ── a change of the key ────────────────────────────────────────────────────────────────────────────


def test_fault_72_a_revoked_signer_is_refused_for_good(
    device: Device, lab: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    thief = lab.rotate()
    device.hears(lab.says(3))
    assert device.holds == model(3)
    newest = lab.signer.keys
    for again in (False, True):
        caplog.clear()
        if again:
            device.restart()
        device.hears(*[with_model(9, thief.seal(manifest(9), "round"))] * 25)
        (warning,) = [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING]
        assert_tells(warning, "replaced")
        assert (device.holds, device.seen.round) == (model(3), RoundId(1, 3))
        assert device.memory is not None
        assert device.memory.signers() == newest
    device.hears(lab.says(4))
    assert device.holds == model(4)


def test_fault_72_an_old_announcement_under_a_new_chain_is_of_a_revoked_signer(
    device: Device, lab: Federation
) -> None:
    thief = lab.rotate()
    device.hears(with_model(9, replace(thief, chain=lab.signer.chain).seal(manifest(9), "round")))
    assert (device.holds, device.seen.round) == (model(2), RoundId(1, 2))


def test_a_device_that_slept_through_changes_follows_from_its_pinned_key(
    tmp_path: Path, lab: Federation
) -> None:
    device = Device(tmp_path / "device", lab.pin)
    for _ in range(3):
        lab.rotate()
    device.hears(lab.says(5))
    assert device.holds == model(5)
    envelope = unpack(lab.announcement(6), Signed).model_copy(update={"chain": None})
    device.hears({**frames(6), ROUND: pack(envelope)})
    assert device.holds == model(6), "what it knows it need not be told again"
    device.restart()
    device.hears(lab.says(7))
    assert device.holds == model(7)


def test_under_the_next_key_no_round_comes_back_either(device: Device, lab: Federation) -> None:
    lab.rotate()
    device.hears({ROUND: lab.announcement(2)})  # the round it has seen, said again
    device.broker.retained |= lab.says(1)
    device.restart()
    assert (device.holds, device.seen.round) == (model(2), RoundId(1, 2))
    device.hears(lab.says(3))
    assert device.holds == model(3)


def test_fault_72_fast_forward_ends_with_a_change_of_the_key(device: Device, lab: Federation) -> None:
    """A stolen key announces the last round there can be; under the next key numbers begin anew."""
    last = 2**31 - 1
    device.hears({**frames(last, last), ROUND: lab.announcement(last, last)})
    assert device.seen.round == RoundId(last, last)
    device.hears(lab.says(3))
    assert device.holds == model(last, last)
    assert device.status.signer == lab.signer.public, "so that its successor knows who said so"
    lab.rotate()
    device.hears(lab.says(3))
    assert (device.holds, device.seen.round) == (model(3), RoundId(1, 3))
    told = device.status
    assert (told.signer, told.generation, told.round) == (lab.signer.public, 1, 3)
    device.restart()
    device.hears(lab.says(2))
    assert (device.holds, device.seen.round) == (model(3), RoundId(1, 3))
    device.hears(lab.says(4))
    assert device.holds == model(4)


@pytest.mark.parametrize("state", ["open", "done"])
def test_fault_72_the_last_attempt_of_this_round_ends_with_a_change_of_the_key(
    state: str, device: Device, lab: Federation
) -> None:
    """A stolen key announces the round that is open, with another model and the last attempt there can be."""
    stolen = manifest(3, state=state, attempt=2**31 - 1, model=blob(model(9), 1))
    genuine = manifest(3, state=state)

    def follows(announced: Manifest, model_: bytes) -> bool:
        if state == "done":
            return device.holds == model_
        return device.worked[-1:] == [announced]

    device.hears({**frames(9), ROUND: lab.signer.seal(stolen, "round")})
    assert follows(stolen, model(9))
    device.hears(with_model(3, lab.signer.seal(genuine, "round")))
    assert follows(stolen, model(9)), "an older attempt of the same round"
    lab.rotate()
    device.hears(with_model(3, lab.signer.seal(genuine, "round")))
    assert follows(genuine, model(3))


def test_fault_72_a_change_of_the_key_that_cannot_be_saved_is_not_made_until_it_can(
    device: Device, lab: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a restart would lead back to a stolen key, when the device has said that it believes the next."""

    def full(_memory: Memory, _signers: Signers, _seen: Attempt) -> None:
        raise StateError("agent.db: database or disk is full")

    before = lab.rotate()
    with monkeypatch.context() as patch:
        patch.setattr(Memory, "save_signers", full)
        device.hears(lab.says(3))
        assert (device.holds, device.seen.round) == (model(2), RoundId(1, 2))
        assert (device.status.signer, device.status.round) == (before.public, 2)
        assert not device.status.online, "it has left, to come back"
        device.waits(30.0)
        assert (device.holds, device.seen.round) == (model(2), RoundId(1, 2))
    device.waits(30.0)
    assert (device.holds, device.seen.round) == (model(3), RoundId(1, 3))
    assert (device.status.signer, device.status.online) == (lab.signer.public, True)
    device.restart()
    device.hears(with_model(9, before.seal(manifest(9), "round")))
    assert device.holds == model(3)


def test_a_power_cut_at_a_change_of_the_key_leaves_a_device_that_knows_which_round_it_has_seen(
    device: Device, lab: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In world 11600 the power failed between the two: the model that was held was newer than the round."""

    class PowerCut(BaseException):
        pass

    def cut(_memory: Memory, _seen: Attempt) -> None:
        raise PowerCut

    lab.rotate()
    with monkeypatch.context() as patch, suppress(PowerCut):
        patch.setattr(Memory, "save_seen", cut)
        device.hears(lab.says(3))
    assert device.memory is not None
    assert (device.seen.round, device.memory.signers()[-1]) == (RoundId(1, 3), lab.signer.public)


def test_a_model_of_work_that_was_broken_off_is_kept_only_with_the_round_that_it_is_of(
    lab: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In world 7703 a disk was full while the key changed, and the model at hand was kept later."""

    def full(_memory: Memory, _signers: Signers, _seen: Attempt) -> None:
        raise StateError("agent.db: database or disk is full")

    device = Device(tmp_path / "new", lab.pin)
    asked = manifest(3, state="open", kind="train", plan=Plan())
    device.hears(with_model(3, lab.signer.seal(asked, "round")))
    assert [work.round for work in device.worked] == [3]
    with monkeypatch.context() as patch:
        patch.setattr(Memory, "save_signers", full)
        lab.rotate()
        device.hears({ROUND: lab.signer.seal(asked, "round")})
        device.waits(30.0)
        device.waits(30.0)
    assert device.holds == model(3)
    assert device.seen.round == RoundId(1, 3)


# ── the owner's side ───────────────────────────────────────────────────────────────────────────────


def test_another_pin_begins_anew_and_one_that_was_followed_does_not(
    device: Device, lab: Federation, tmp_path: Path
) -> None:
    old_pin = lab.pin.read_bytes()
    lab.rotate()
    device.hears(lab.says(3))
    lab.pin.write_bytes(ed25519.public_pem(lab.signer.public))  # enrolled anew, with the key of today
    device.restart()
    device.hears(lab.says(2))
    assert (device.holds, device.seen.round) == (model(3), RoundId(1, 3))
    lab.pin.write_bytes(old_pin)  # or with a bundle of yesterday
    device.restart()
    device.hears(lab.says(2))
    assert (device.holds, device.seen.round) == (model(3), RoundId(1, 3))
    other = Federation(tmp_path / "after a theft")
    lab.pin.write_bytes(other.pin.read_bytes())
    device.restart()
    device.hears(lab.says(9))
    assert device.holds == model(3)
    device.hears(other.says(1))
    assert (device.holds, device.seen.round) == (model(1), RoundId(1, 1))


def test_what_was_heard_before_a_key_was_pinned_counts_no_more(tmp_path: Path, lab: Federation) -> None:
    device = Device(tmp_path / "device", None)
    device.hears(with_model(9, seal(manifest(9))))
    assert device.seen.round == RoundId(1, 9)
    assert device.memory is not None
    device.memory.close()
    device = Device(tmp_path / "device", lab.pin)
    device.hears(lab.says(1))
    assert (device.holds, device.seen.round) == (model(1), RoundId(1, 1))


def test_without_cryptography_a_pinned_key_is_a_mistake_that_names_the_extra(
    tmp_path: Path, lab: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = lab.pin
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    with pytest.raises(ConfigError, match=telling("[trust] key ", "'secure'", "pip install 'fedge[secure]'")):
        Device(tmp_path / "device", pin)
    (tmp_path / "lab" / "signing.pub").write_text("nonsense")
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=telling("signing.pub: ", "Ed25519", "PEM")):
        Device(tmp_path / "device", pin)
