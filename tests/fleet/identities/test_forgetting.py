"""`fedge forget`: what it shows, what it asks for, what it removes, and what it says that it cannot."""

import os
import time
from pathlib import Path

import pytest

from aggregator.ledger.writing import Ledger
from fedge.freshness import RoundId
from fedge.store import lock, make_folder
from fleet.identities import forgetting
from fleet.identities.folder import FederationFolder
from fleet.identities.identity import Identity
from fleet.identities.register import Register
from tests.aggregator.test_ledger import LIFE, admit, close
from tests.fleet.identities.test_quarantining import fedge, folder

__all__ = ["folder"]


@pytest.fixture
def state(folder: FederationFolder) -> Path:
    """The ledger of two closed rounds in which pump-2 counts."""
    state = make_folder(folder.root / "state")
    ledger = Ledger(state / "ledger.db")
    with ledger.transaction():
        ledger.begin_life(LIFE)
        for number in (3, 4):
            for device in ("pump-1", "pump-2"):
                admit(ledger, device, RoundId(1, number))
            close(ledger, RoundId(1, number))
    ledger.close()
    return state


def test_it_says_what_it_removes_and_what_stays_before_it_does_anything(
    folder: FederationFolder, state: Path
) -> None:
    fedge(folder, "quarantine", "pump-2")
    before = (state / "ledger.db").read_bytes()
    shown = fedge(folder, "forget", "pump-2")
    assert shown.exit_code == 64
    assert "nothing was removed: --yes does it" in shown.stderr
    removed, _, stays = shown.stdout.partition("and there stays, which this cannot remove:")
    assert "its updates of rounds 3 to 4 of generation 1 (" in removed
    assert "what the register holds of it; it is revoked" in removed
    assert "its bundle, " in removed
    assert "its place in the quarantine" in removed
    assert "its part in models: that of round 1.4 and others" in stays
    assert "backups of the ledger" in stays
    assert (state / "ledger.db").read_bytes() == before

    done = fedge(folder, "forget", "pump-2", "--yes")
    assert done.exit_code == 0, done.output
    assert "pump-2 is forgotten" in done.stdout
    assert "its name and the numbers of its certificates stay in the register" in done.stdout
    assert "or clear the retained topic fedge/v1/greenhouse/status/pump-2" in done.stdout, (
        "no broker runs here"
    )
    assert not folder.bundle("pump-2").exists()
    assert "pump-2" not in (folder.root / "quarantined").read_text()
    again = fedge(folder, "forget", "pump-2", "--yes")
    assert again.exit_code == 0
    assert "its updates" not in again.stdout
    assert "revoked" in fedge(folder, "devices").stdout


def test_its_name_goes_when_its_certificates_have_ended(
    folder: FederationFolder, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Identity("greenhouse", "pump-2")
    fedge(folder, "forget", "pump-2", "--yes")
    with Register(folder.register) as register:
        ((pem, request, renewal),) = register.run(
            "SELECT pem, request, renewal FROM certificates JOIN identities ON identity = name"
            " WHERE identity = ?",
            identity.name,
        )
        assert (pem, request, renewal) == (b"", None, None)
        assert register.revoked(), "its certificate is refused"
        with register.transaction():
            assert register.forget(identity, time.time() + 400 * 86_400)
        register.wipe()
    held = b"".join(file.read_bytes() for file in folder.registrar.glob("registrar.db*"))
    assert b"pump-2" not in held
    assert b"pump-1" in held
    nothing = fedge(folder, "forget", "pump-2", "--yes")
    assert nothing.exit_code == 0
    assert "there is nothing of pump-2 here" in nothing.stdout


def test_nothing_is_changed_while_an_aggregator_is_at_work(folder: FederationFolder, state: Path) -> None:
    held = lock(state)
    result = fedge(folder, "forget", "pump-2", "--yes")
    assert result.exit_code == 75
    assert "already works with this state folder: stop the aggregator, run this again, and start it" in (
        result.stderr
    )
    os.close(held)
    assert forgetting.held(folder, "pump-2").bundle is not None
    with Register(folder.register) as register:
        member = register.member(Identity("greenhouse", "pump-2"))
    assert member is not None
    assert member.revoked_at is None


def test_a_name_that_is_none(folder: FederationFolder) -> None:
    assert fedge(folder, "forget", "PUMP 2", "--yes").exit_code == 64
