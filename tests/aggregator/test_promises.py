"""A promise on its way from the broker into the core: whose certificate it brings, and what is altered."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from aggregator.core import effects as do
from aggregator.core import rounds
from aggregator.core.federation import Federation
from aggregator.core.per_device import PerDevice
from aggregator.shell.certificates import Certificates
from aggregator.shell.intake import Intake
from aggregator.shell.reception import Reception
from aggregator.shell.reports import Reports
from fedge.frozen import replace
from fedge.identity.certified_keys import Authority, OwnKey, read_own
from fedge.identity.provisioning import identity
from fedge.masking.round_messages import Promise
from fedge.wire.frames import split
from fedge.wire.messages.frame import unpack_frame
from fedge.wire.messages.message import pack
from fedge.wire.topics import Topics
from fleet.pki.authority import Authority as Issuer
from fleet.pki.keys import make_key, public_key
from tests.aggregator.test_exchange import Round

FEDERATION, DEVICE = "lab", "pi-1"
NOW = datetime.now(UTC).replace(microsecond=0)


class Spool:
    """In the place of the ledger: the frames of one message."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def pieces(self, device: str, digest: bytes) -> list[bytes]:
        return self._pieces

    def remembers(self, round_id: object) -> bool:
        return True


class Federated:
    """An authority, and an aggregator with an open masked round that nobody has answered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.issuer = Issuer.found("lab authority", make_key(), 100, NOW)
        (folder / "ca.pem").write_bytes(self.issuer.pem)
        state = Round().state
        self.state: Federation = replace(
            state, answers=PerDevice(), admitted=0, promised=PerDevice(), online=state.online.put(DEVICE)
        )

    def own(self, name: str = DEVICE, *, days: int = 10, issuer: Issuer | None = None) -> OwnKey:
        key, file = make_key(), self.folder / f"{name}.pem"
        begin = NOW - timedelta(days=2)
        issued = (issuer or self.issuer).issue_client(
            identity(FEDERATION, name), public_key(key), days, begin
        )
        file.write_bytes(key + issued.pem)
        return read_own(file, file)

    def hears(self, certificate: bytes) -> tuple[Federation, list[do.Effect]]:
        """The device's promise with this certificate arrives."""
        assert self.state.model is not None
        promise = Promise(
            generation=self.state.round.generation,
            round=self.state.round.round,
            base=self.state.model.digest,
            device=DEVICE,
            certificate=certificate,
        )
        payload = pack(promise)
        pieces = [unpack_frame(each).data for each in split(payload, 4_096)]
        certificates = Certificates(FEDERATION, Authority(self.folder / "ca.pem"))
        reception = Reception(
            Topics(FEDERATION),
            cast(Any, Spool(pieces)),
            Intake(),
            Reports(logging.getLogger("test")),
            lambda: 1.0,
            certificates,
        )
        event = reception.read_update(self.state, DEVICE, split(payload).id)
        return rounds.step(self.state, event)


@pytest.fixture
def lab(tmp_path: Path) -> Federated:
    return Federated(tmp_path)


def refused(effects: list[do.Effect]) -> str:
    (receipt,) = [each.receipt for each in effects if isinstance(each, do.SendReceipt)]
    assert receipt.verdict == "refused"
    return str(receipt.reason)


def test_a_promise_with_the_devices_certificate_counts_and_brings_its_key(lab: Federated) -> None:
    own = lab.own()
    state, effects = lab.hears(own.certificate)
    (receipt,) = [each.receipt for each in effects if isinstance(each, do.SendReceipt)]
    assert receipt.verdict == "admitted"
    assert state.promised[DEVICE].key == own.public


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_certificate_with_any_byte_changed_is_refused_and_nothing_of_it_is_kept(lab: Federated) -> None:
    whole = lab.own().certificate
    for at in range(len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :]
        state, effects = lab.hears(changed)
        assert refused(effects) == "bad_signature", at
        assert not state.promised
        assert state.admitted == 0


@pytest.mark.parametrize("cut", [1, 100])
def test_a_certificate_that_is_cut_or_longer_is_refused(lab: Federated, cut: int) -> None:
    whole = lab.own().certificate
    for changed in (whole[:-cut], whole + bytes(cut)):
        assert refused(lab.hears(changed)[1]) == "bad_signature"


def test_only_its_own_valid_certificate_of_our_authority_counts(lab: Federated) -> None:
    stranger = Issuer.found("lab authority", make_key(), 100, NOW)
    for own in (lab.own("pi-2"), lab.own(issuer=stranger), lab.own(days=1)):
        state, effects = lab.hears(own.certificate)
        assert refused(effects) == "bad_signature"
        assert not state.promised


def test_a_refused_promise_is_no_answer_and_the_true_one_counts_after_it(lab: Federated) -> None:
    """Who changes it on its way, as a broker can, costs the device one more message."""
    own = lab.own()
    lab.state, _ = lab.hears(own.certificate[:-1] + bytes([own.certificate[-1] ^ 1]))
    state, effects = lab.hears(own.certificate)
    assert DEVICE in state.promised
    assert any(isinstance(each, do.SaveAnswer) for each in effects)
