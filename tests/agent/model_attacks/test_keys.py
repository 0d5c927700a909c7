"""Fault 72: what becomes of a device when the federation's signing key changes."""

import logging
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent.shell.memory import Memory
from fedge.algorithms.plan import Plan
from fedge.errors import ConfigError, StateError
from fedge.identity import ed25519
from fedge.identity.trust import Signers
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.envelope import Signed, seal
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack, unpack
from tests.agent.besieged import Device, Federation, blob, frames, manifest, model
from tests.agent.model_attacks.attackers import ROUND, with_model
from tests.wording import assert_tells, telling

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
