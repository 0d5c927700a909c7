"""The registrar with its register and its files, and no broker: what is durable, and what is issued once."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from agent.enrolment.certificates import KeyAndRequest
from fedge.errors import StateError
from fedge.identity.provisioning import (
    claim_user,
    renewal_user,
)
from fedge.wire.messages.message import pack
from fleet.pki import registrar as shell
from fleet.pki import revocation
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.publication import publish
from fleet.pki.register import Register
from fleet.pki.registrar import Petition
from fleet.pki.revocation import revoke
from fleet.pki.tokens import LONGEST, read_duration, withdraw
from tests.fleet.pki.registrars import NOW, Place, enrol, joined, place, present, renew

__all__ = ["place"]


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


def test_two_federations_share_a_registrar_and_their_claims_do_not_mix(place: Place, tmp_path: Path) -> None:
    harbour = FederationFolder(tmp_path / "harbour")
    found(harbour, Founding("harbour", ["broker.example"]), beside=place.folder)
    token = place.token()
    (reply,) = place.registrar.turn([Petition("harbour", token.claim, pack(enrol(token, "pi-1")))], NOW)
    assert reply.answer.refused == "unknown_claim"


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
