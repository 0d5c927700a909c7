"""The registrar with its register and its files, and no broker: what is durable, and what strangers send."""

import logging
import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.enrolment.certificates import KeyAndRequest, Present
from fedge.errors import StateError
from fedge.identity.provisioning import (
    SALT_BYTES,
    Enrol,
    Issued,
    Renew,
    Verifier,
    claim_user,
    digest,
    enrolment_proof,
    identity,
    renewal_statement,
    renewal_user,
)
from fedge.identity.token import Token
from fedge.wire.messages.message import pack
from fleet.pki import registrar as shell
from fleet.pki import revocation
from fleet.pki.certificates import utc_now
from fleet.pki.claims import Claims
from fleet.pki.decision import MOST_A_DAY
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.publication import publish
from fleet.pki.register import Register
from fleet.pki.registrar import Petition, Registrar
from fleet.pki.revocation import revoke
from fleet.pki.tokens import LONGEST, promise, read_duration, withdraw
from tests.wording import assert_tells, lines_telling

NOW = utc_now()
HOUR = timedelta(hours=1)
RENEWAL = Verifier.of("secret", bytes(SALT_BYTES))


class Place:
    """A federation's folder, and its registrar."""

    def __init__(self, root: Path) -> None:
        self.folder = FederationFolder(root / "greenhouse")
        found(self.folder, Founding("greenhouse", ["broker.example"]))
        self.register = Register(self.folder.register)
        self.registrar = Registrar(self.folder, self.register)

    def restart(self) -> None:
        self.register.close()
        self.register = Register(self.folder.register)
        self.registrar = Registrar(self.folder, self.register)

    def token(self, uses: int = 1) -> Token:
        return promise(self.folder, uses, HOUR).token

    def ask(self, petitioner: str, *messages: Enrol | Renew, now: datetime = NOW) -> list[Issued]:
        petitions = [Petition("greenhouse", petitioner, pack(message)) for message in messages]
        return [reply.answer for reply in self.registrar.turn(petitions, now)]

    def used(self, token: Token) -> int:
        kept = Claims(self.register).find(token.claim)
        assert kept is not None
        return kept.claim.used


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def enrol(token: Token, device: str, begun: KeyAndRequest | None = None) -> Enrol:
    csr = (begun or KeyAndRequest.make(identity("greenhouse", device))).csr
    proof = enrolment_proof(token.proof_key, "greenhouse", device, csr, RENEWAL)
    return Enrol(device=device, csr=csr, renewal=RENEWAL, proof=proof)


def present(place: Place, begun: KeyAndRequest, answer: Issued, device: str, path: Path) -> Present:
    assert answer.certificate is not None
    path.write_bytes(
        begun.identity(answer.certificate, place.folder.ca.read_bytes(), identity("greenhouse", device))
    )
    return Present.read(path)


def renew(has: Present, device: str, begun: KeyAndRequest | None = None) -> Renew:
    csr = (begun or KeyAndRequest.make(identity("greenhouse", device))).csr
    signature = has.sign(renewal_statement("greenhouse", device, csr))
    return Renew(csr=csr, certificate=has.der, signature=signature)


def joined(place: Place, device: str, tmp_path: Path) -> Present:
    token, begun = place.token(), KeyAndRequest.make(identity("greenhouse", device))
    (answer,) = place.ask(token.claim, enrol(token, device, begun))
    return present(place, begun, answer, device, tmp_path / f"{device}.pem")


def test_a_device_that_joined_is_in_the_register_the_access_list_and_the_passwords(
    place: Place, tmp_path: Path
) -> None:
    token = place.token()
    assert f"user {claim_user('greenhouse', token.claim)}\n" in place.folder.acl.read_text()
    (answer,) = place.ask(token.claim, enrol(token, "pi-1"))
    assert answer.certificate is not None
    assert "user greenhouse_pi-1\n" in place.folder.acl.read_text()
    assert f"user {renewal_user('greenhouse', 'pi-1')}\n" in place.folder.acl.read_text()
    assert f"\n{renewal_user('greenhouse', 'pi-1')}:$7$101$" in place.folder.passwords.read_text()


def test_of_a_token_only_hashes_are_kept(place: Place) -> None:
    token = place.token()
    place.restart()  # what was in the WAL is in the file
    places = [path for path in place.folder.root.rglob("*") if path.is_file()]
    for secret in (token.secret, token.password):
        assert not any(secret.encode() in path.read_bytes() for path in places)
    assert stat.S_IMODE(place.folder.register.stat().st_mode) == 0o600


def test_what_a_crash_left_untold_is_told_at_the_next_start(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed, and dead before the broker was told: nobody was answered, and the use is counted once."""
    token = place.token()
    request = enrol(token, "pi-1")
    place.registrar.tell_broker(NOW)

    def full(*_: object) -> None:
        raise StateError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(shell, "publish", full)
        with pytest.raises(StateError):
            place.ask(token.claim, request)
    assert place.used(token) == 1
    assert "user greenhouse_pi-1\n" not in place.folder.acl.read_text()
    place.restart()
    place.registrar.tell_broker(NOW)
    assert "user greenhouse_pi-1\n" in place.folder.acl.read_text()
    (answer,) = place.ask(token.claim, request)
    assert answer.certificate is not None
    assert place.used(token) == 1


def test_what_another_process_changed_and_left_untold_is_told(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed, and its turn to publish did not come: "database is locked"."""
    joined(place, "pi-1", tmp_path)
    told: list[Register] = []

    def counted(folder: FederationFolder, register: Register) -> None:
        told.append(register)
        publish(folder, register)

    monkeypatch.setattr(shell, "publish", counted)

    def locked(*_: object) -> None:
        raise StateError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(revocation, "publish", locked)
        with pytest.raises(StateError):
            revoke(place.folder, "pi-1")
    place.registrar.tell_broker(NOW)
    assert told == [], "first the other has its say: it may be in the middle of a farewell"
    assert "user greenhouse_pi-1\n" in place.folder.acl.read_text()
    for _ in range(3):
        place.registrar.tell_broker(NOW)
    assert told == [place.register], "once"
    assert "user greenhouse_pi-1\n" not in place.folder.acl.read_text()


def test_a_full_disk_is_forgotten_by_the_next_turn(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same process goes on, and tells the broker before it answers who asks again."""
    token = place.token()
    request = enrol(token, "pi-1")
    with monkeypatch.context() as patched:
        patched.setattr(shell, "publish", lambda *_: (_ for _ in ()).throw(StateError("full")))
        with pytest.raises(StateError):
            place.ask(token.claim, request)
    (answer,) = place.ask(token.claim, request)
    assert answer.certificate is not None
    assert "user greenhouse_pi-1\n" in place.folder.acl.read_text()


def test_the_same_request_gets_the_same_certificate(place: Place) -> None:
    token = place.token()
    request = enrol(token, "pi-1")
    first, second = place.ask(token.claim, request, request)  # both in one turn
    place.restart()
    (third,) = place.ask(token.claim, request)
    assert first == second == third
    assert first.certificate is not None
    assert place.used(token) == 1


def test_a_claim_whose_time_is_over_leaves_the_passwords(place: Place) -> None:
    token = place.token()
    place.registrar.tell_broker(NOW)
    user = claim_user("greenhouse", token.claim)
    assert user in place.folder.passwords.read_text()
    with place.register.transaction():
        place.register.run("UPDATE claims SET expires_at = ?", NOW.timestamp() - 1)
    place.registrar.tell_broker(NOW)
    assert user not in place.folder.passwords.read_text()
    (answer,) = place.ask(token.claim, enrol(token, "pi-1"))
    assert answer.refused == "claim_expired"


def test_a_renewal_changes_key_and_dates_and_nothing_else(place: Place, tmp_path: Path) -> None:
    has = joined(place, "pi-1", tmp_path)
    before = place.folder.acl.read_text(), place.folder.passwords.read_text()
    begun = KeyAndRequest.make("greenhouse_pi-1")
    later = NOW + timedelta(days=300)
    first, again = place.ask("pi-1", renew(has, "pi-1", begun), renew(has, "pi-1", begun), now=later)
    assert first == again
    new = present(place, begun, first, "pi-1", tmp_path / "new.pem")
    assert new.common_name == has.common_name
    assert new.not_after - has.not_after == timedelta(days=300)
    assert (place.folder.acl.read_text(), place.folder.passwords.read_text()) == before
    kinds = [{each.oid for each in held.certificate.extensions} for held in (has, new)]
    assert kinds[0] == kinds[1]


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


def test_two_federations_share_a_registrar_and_their_claims_do_not_mix(place: Place, tmp_path: Path) -> None:
    harbour = FederationFolder(tmp_path / "harbour")
    found(harbour, Founding("harbour", ["broker.example"]), beside=place.folder)
    token = place.token()
    (reply,) = place.registrar.turn([Petition("harbour", token.claim, pack(enrol(token, "pi-1")))], NOW)
    assert reply.answer.refused == "unknown_claim"


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


def test_a_claim_is_withdrawn_and_says_whom_it_let_in(place: Place) -> None:
    token = place.token(uses=3)
    place.ask(token.claim, enrol(token, "pi-2"), enrol(token, "pi-1"))
    enrolled, _ = withdraw(place.folder, token.claim)
    assert enrolled == ["greenhouse_pi-1", "greenhouse_pi-2"]
    assert token.user not in place.folder.passwords.read_text()
    (answer,) = place.ask(token.claim, enrol(token, "pi-3"))
    assert answer.refused == "unknown_claim"


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("1h", 3600), (" 7d ", 604_800)])
def test_how_long_a_token_is_good(text: str, seconds: int) -> None:
    assert read_duration(text).total_seconds() == seconds
    assert read_duration("30d") == LONGEST
