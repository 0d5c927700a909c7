"""What the registrar refuses: wrong proofs, changed bytes, and strangers who ask again and again."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.enrolment.certificates import KeyAndRequest, Present
from fedge.identity.provisioning import (
    SALT_BYTES,
    Enrol,
    Renew,
    Verifier,
    digest,
    enrolment_proof,
)
from fedge.identity.token import Token
from fedge.wire.messages.message import pack
from fleet.pki.decision import MOST_A_DAY
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.register import Register
from fleet.pki.registrar import Petition, Registrar
from fleet.pki.revocation import revoke
from fleet.pki.tokens import promise
from tests.fleet.pki.registrars import HOUR, NOW, RENEWAL, Place, enrol, joined, place, renew
from tests.wording import assert_tells, lines_telling

__all__ = ["place"]


def test_what_does_not_renew(place: Place, tmp_path: Path) -> None:
    has, other = joined(place, "pi-1", tmp_path), joined(place, "pi-2", tmp_path)
    good = renew(has, "pi-1")

    def refusal(request: Renew, petitioner: str = "pi-1", now: datetime = NOW) -> str | None:
        (answer,) = place.ask(petitioner, request, now=now)
        assert answer.csr == digest(request.csr)
        return answer.refused

    assert refusal(good, petitioner="pi-2") == "unknown_certificate"
    assert refusal(renew(other, "pi-1")) == "unknown_certificate"
    assert refusal(good.model_copy(update={"signature": other.sign(b"anything")})) == "wrong_proof"
    assert refusal(good.model_copy(update={"signature": b"x"})) == "wrong_proof"
    stolen_password_only = renew(has, "pi-1").model_copy(update={"signature": good.signature})
    assert refusal(stolen_password_only) == "wrong_proof", "a signature is good for one request"
    assert refusal(renew(has, "pi-1", KeyAndRequest.make("greenhouse__aggregator"))) == "bad_request"
    assert refusal(good, now=NOW + timedelta(days=366)) == "certificate_expired"
    for _ in range(MOST_A_DAY - 1):  # the first was given when it joined
        assert refusal(renew(has, "pi-1")) is None
    assert refusal(good) == "too_often"
    assert refusal(good, now=NOW + timedelta(days=2)) is None
    revoke(place.folder, "pi-1")
    assert refusal(renew(has, "pi-1")) == "revoked"
    assert refusal(good) == "revoked", "not even what was given before"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 700), removed=st.integers(0, 4), put=st.binary(max_size=4), data=st.data())
def test_fuzzed_requests_and_certificates_harm_nobody(
    fuzzed: tuple[Place, Token, Present], at: int, removed: int, put: bytes, data: st.DataObject
) -> None:
    """Whatever bytes come: an answer or none, never an exception, and never a certificate."""
    place, token, has = fuzzed

    def changed(good: bytes) -> bytes:
        cut = at % len(good)
        return good[:cut] + put + good[cut + removed :] or b"x"

    honest = enrol(token, "fuzz")
    proof = enrolment_proof(token.proof_key, "greenhouse", "fuzz", changed(honest.csr), RENEWAL)
    answers = []
    if changed(honest.csr) != honest.csr:
        answers += place.ask(
            token.claim, honest.model_copy(update={"csr": changed(honest.csr), "proof": proof})
        )
    good = renew(has, "pi-1")
    if changed(good.certificate) != good.certificate:
        answers += place.ask("pi-1", good.model_copy(update={"certificate": changed(good.certificate)}))
    answers += [
        reply.answer
        for reply in place.registrar.turn(
            [
                Petition("greenhouse", name, data.draw(st.binary(max_size=60)))
                for name in ("pi-1", token.claim)
            ],
            NOW,
        )
    ]
    assert all(answer.certificate is None for answer in answers)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Token, Present]:
    root = tmp_path_factory.mktemp("fuzzed")
    place = Place(root)
    return place, place.token(), joined(place, "pi-1", root)


def test_who_has_only_what_the_broker_sees_gets_no_certificate(place: Place) -> None:
    """A broker that was broken into sees the password and the topics, not the key of the proof."""
    token = place.token()
    honest = enrol(token, "pi-1")
    forged = [
        enrol(token.model_copy(update={"secret": token.password}), "pi-1"),
        honest.model_copy(update={"device": "pi-2"}),
        honest.model_copy(update={"csr": KeyAndRequest.make("greenhouse_pi-1").csr}),
        honest.model_copy(update={"renewal": Verifier.of("mine", bytes(SALT_BYTES))}),
    ]
    assert [answer.refused for answer in place.ask(token.claim, *forged)] == ["wrong_proof"] * 4
    assert place.used(token) == 0


def test_who_asks_in_vain_again_and_again_fills_no_log(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A stolen token and a member, each with as many requests as it likes; what is signed is always said."""
    token, has, begun = place.token(), joined(place, "pi-9", tmp_path), KeyAndRequest.make("greenhouse_pi-1")
    place.ask(token.claim, enrol(token, "pi-1", begun))
    rows = place.register.version()
    with caplog.at_level(logging.INFO):
        caplog.clear()
        for number in range(300):
            place.ask(token.claim, enrol(token, "pi-1", begun), enrol(token, f"x-{number}"))
            place.ask("pi-9", renew(has, "pi-9").model_copy(update={"signature": b"%d" % number}))
            garbage = [Petition("greenhouse", name, b"%d" % number) for name in ("pi-9", token.claim)]
            place.registrar.turn(garbage, NOW)
        assert len(caplog.messages) == 5, caplog.messages
        assert place.register.version() == rows, "nothing of it is written"
        (answer,) = place.ask("pi-9", renew(has, "pi-9"))
        assert answer.certificate is not None
        assert_tells(caplog.messages[-1], "pi-9", "greenhouse", "renewed")
        place.registrar.turn([], NOW + HOUR)
        place.registrar.turn([], NOW + 2 * HOUR)
        assert lines_telling(caplog.text, token.claim, "greenhouse", "897")


def test_a_name_that_no_certificate_holds_is_refused_and_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """65 characters and more: names of a device and of a federation that are both as long as they may be."""
    federation, device = "f" * 31, "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    folder = FederationFolder(tmp_path / federation)
    found(folder, Founding(federation, ["broker.example"]))
    token = promise(folder, 1, HOUR).token
    csr = KeyAndRequest.make(device).csr
    proof = enrolment_proof(token.proof_key, federation, device, csr, RENEWAL)
    asked = Enrol(device=device, csr=csr, renewal=RENEWAL, proof=proof)
    renewed = Renew(csr=csr, certificate=b"certificate", signature=b"signature")
    with Register(folder.register) as register:
        registrar = Registrar(folder, register)
        petitions = [
            Petition(federation, token.claim, pack(asked)),
            Petition(federation, device, pack(renewed)),
        ]
        (reply,) = registrar.turn(petitions, NOW)
        assert not [member for member in register.members() if member.identity.device]
    assert reply.answer.refused == "bad_request"
    assert "64" in reply.answer.detail
    assert lines_telling(caplog.text, device)
