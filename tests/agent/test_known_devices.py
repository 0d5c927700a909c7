"""Which devices an owner takes part with in masked rounds: rosters, revocation lists, and renewed keys."""

from pathlib import Path

import pytest

from agent.__main__ import main
from agent.settings.trust import TrustSettings
from fedge.errors import ConfigError
from fedge.identity import bundle
from fedge.identity.certified_keys import read_own
from fedge.identity.pinned_roster import line_of
from fedge.masking.messages import Advertise
from fedge.masking.refusals import Why
from fedge.masking.round_messages import Objection
from fedge.wire.messages.message import Message
from fleet.pki.enrolment import enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.revocation import revoke
from tests.agent.masked_places import FEDERATION, Place, call, federation, new_places, terms_of
from tests.agent.test_masked_rounds import give

NAMES = ("pi-1", "pi-2", "pi-3")


@pytest.fixture
def homes(tmp_path: Path) -> dict[str, Path]:
    return federation(tmp_path, NAMES)


@pytest.fixture
def places(homes: dict[str, Path]) -> dict[str, Place]:
    return new_places(homes)


def line(home: Path, name: str) -> str:
    file = home / "identity.pem"
    return line_of(name, read_own(file, file).public)


def trusting(place: Place, **trust: object) -> Place:
    """The device, started with these settings."""
    settings = TrustSettings.model_validate({"require": ("masked",), **trust})
    place.settings = place.settings.model_copy(update={"trust": settings})
    place.start()
    return place


def refused(answers: list[Message], why: Why) -> str:
    (answer,) = answers
    assert isinstance(answer, Objection)
    assert answer.why == why
    return answer.detail


def test_a_cohort_of_the_roster_is_joined_and_a_stranger_is_not(
    homes: dict[str, Path], places: dict[str, Place], tmp_path: Path
) -> None:
    roster = tmp_path / "roster"
    roster.write_text("\n".join(line(homes[name], name) for name in NAMES))
    place = trusting(places["pi-1"], roster=roster)
    (answer,) = give(place, call(terms_of(NAMES), places))
    assert isinstance(answer, Advertise)

    roster.write_text("\n".join(line(homes[name], name) for name in NAMES[:2]))
    place = trusting(places["pi-2"], roster=roster)
    assert "does not know pi-3" in refused(give(place, call(terms_of(NAMES), places)), Why.STRANGER)


def test_a_device_knows_itself(homes: dict[str, Path], places: dict[str, Place], tmp_path: Path) -> None:
    """Owners may exchange the lines of the other devices alone."""
    roster = tmp_path / "roster"
    roster.write_text("\n".join(line(homes[name], name) for name in NAMES[1:]))
    (answer,) = give(trusting(places["pi-1"], roster=roster), call(terms_of(NAMES), places))
    assert isinstance(answer, Advertise)


def test_a_known_name_with_a_key_of_the_servers_is_refused(
    homes: dict[str, Path], places: dict[str, Place], tmp_path: Path
) -> None:
    """Who holds the authority certifies another key for pi-3: the name is known, and the key is not."""
    roster = tmp_path / "roster"
    roster.write_text("\n".join(line(homes[name], name) for name in NAMES))
    (homes["pi-3"] / "identity.pem").write_bytes(_identity_of(tmp_path, "pi-3"))
    place = trusting(places["pi-1"], roster=roster)
    said = refused(give(place, call(terms_of(NAMES), places)), Why.STRANGER)
    assert "another key of pi-3" in said


def _identity_of(tmp_path: Path, name: str) -> bytes:
    """Key and certificate of a device that is enrolled again."""
    done = enroll(FederationFolder(tmp_path / FEDERATION), name, again=True)
    return bundle.unpack(done.bundle.read_bytes())["identity.pem"]


def test_an_attempt_with_one_who_is_no_longer_on_the_roster_is_left(
    homes: dict[str, Path], places: dict[str, Place], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    roster = tmp_path / "roster"
    roster.write_text("\n".join(line(homes[name], name) for name in NAMES))
    place = trusting(places["pi-1"], roster=roster)
    give(place, call(terms_of(NAMES), places))
    roster.write_text("\n".join(line(homes[name], name) for name in NAMES[:2]))
    place.start()
    refused(give(place, call(terms_of(NAMES), places)), Why.STRANGER)
    assert "leaves the attempt that it was in" in caplog.text


def test_a_revoked_certificate_is_refused_from_the_next_attempt_on(
    homes: dict[str, Path], places: dict[str, Place], tmp_path: Path
) -> None:
    folder = FederationFolder(tmp_path / FEDERATION)
    place = trusting(places["pi-1"], revoked=folder.crl)
    (answer,) = give(place, call(terms_of(NAMES), places))
    assert isinstance(answer, Advertise)
    revoke(folder, "pi-2")
    again = give(place, call(terms_of(NAMES, attempt=1), places))
    assert "pi-2 was revoked" in refused(again, Why.STRANGER)
    folder.crl.write_text("nothing")
    again = give(place, call(terms_of(NAMES, attempt=2), places))
    assert "no revocation list" in refused(again, Why.BAD_SIGNATURE)


def test_a_renewed_certificate_ends_no_attempt_of_a_running_program(
    homes: dict[str, Path], places: dict[str, Place], tmp_path: Path
) -> None:
    """Others know the key that was promised. The program keeps it; once it has ended, the device objects."""
    place, first = places["pi-1"], call(terms_of(NAMES), places)
    (answer,) = give(place, first)
    (homes["pi-1"] / "identity.pem").write_bytes(_identity_of(tmp_path, "pi-1"))
    assert give(place, first) == [answer], "signed with the key that the others know"
    place.start()
    assert "renewed" in refused(give(place, first), Why.OWN_KEY_CHANGED)
    (promised_again,) = give(place, call(terms_of(NAMES, attempt=1), places))
    assert isinstance(promised_again, Advertise), "with its new certificate it takes part"


def test_a_roster_without_required_masks_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without masks"):
        TrustSettings(roster=tmp_path / "roster")


def test_a_roster_that_cannot_be_read_ends_the_start(places: dict[str, Place], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        trusting(places["pi-1"], roster=tmp_path / "none")


def test_a_device_prints_its_own_line(homes: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["roster", "--config", str(homes["pi-1"] / "agent.toml")]) == 0
    assert capsys.readouterr().out.strip() == line(homes["pi-1"], "pi-1")
