"""`fedge renew`: the server's own certificates, when they are due, each for whom it was."""

import os
import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fedge.errors import ConfigError, StateError
from fleet.pki import renewal
from fleet.pki.certificates import describe, hosts, utc_now
from fleet.pki.enrolment import admit_observer
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.publication import Signalled
from fleet.pki.renewal import renew


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    folder = FederationFolder(tmp_path / "greenhouse")
    found(folder, Founding("greenhouse", ["broker.example"], server_days=300))
    admit_observer(folder)
    return folder


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(renewal, "utc_now", lambda: moment)


def certificate(path: Path) -> bytes:
    content = path.read_bytes()
    return content[content.index(b"-----BEGIN CERT") :]


def test_nothing_is_renewed_before_two_thirds_are_over(
    folder: FederationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in folder.root.rglob("*.pem")}
    renewals, signalled = renew(folder)
    assert signalled is None, "the broker is not signalled for nothing"
    assert [(renewal.path.name, renewal.done) for renewal in renewals] == [
        ("identity.pem", False),
        ("identity.pem", False),
        ("watch.pem", False),
        ("identity.pem", False),
        ("observer.pem", False),
    ]
    assert {path: path.read_bytes() for path in before} == before
    at(monkeypatch, utc_now() + timedelta(days=205))
    assert all(renewal.done for renewal in renew(folder)[0])


def test_a_renewed_certificate_is_for_whom_it_was(folder: FederationFolder) -> None:
    before = {
        path: (certificate(path), stat.S_IMODE(path.stat().st_mode))
        for path in (folder.broker_identity, folder.aggregator_identity, folder.observer_identity)
    }
    renew(folder, force=True)
    for path, (old, mode) in before.items():
        new = certificate(path)
        assert describe(new).common_name == describe(old).common_name
        assert describe(new).serial != describe(old).serial
        assert hosts(new) == hosts(old)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY")
    assert hosts(certificate(folder.broker_identity)) == ["broker.example", "localhost", "127.0.0.1", "::1"]
    assert hosts(certificate(folder.aggregator_identity)) == []


def test_whom_it_is_for_can_read_it_at_once_whoever_renews_it(
    folder: FederationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut must not leave the broker with a file that root alone reads."""
    rename, modes = os.rename, dict[str, int]()

    def noted(name: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        place = Path(f"/proc/self/fd/{dst_dir_fd}").readlink() / target
        modes[str(place.relative_to(folder.root))] = stat.S_IMODE(os.stat(name, dir_fd=src_dir_fd).st_mode)
        rename(name, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", noted)
    folder.broker_identity.chmod(0o640)
    before = os.umask(0o077)
    try:
        renew(folder, force=True)
        assert os.umask(before) == 0o077, "what comes after has the mask of before"
    finally:
        os.umask(before)
    assert (modes["broker/identity.pem"], modes["aggregator/watch.pem"]) == (0o640, 0o600)


def test_a_run_that_was_cut_short_of_telling_the_broker_is_made_up_for(
    folder: FederationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(renewal, "publish", cut)
        with pytest.raises(KeyboardInterrupt):
            renew(folder, force=True)
    renewals, signalled = renew(folder)
    assert not any(renewal.done for renewal in renewals)
    assert signalled is Signalled.NOT_RUNNING
    assert renew(folder)[1] is None


def test_a_broker_that_moves_is_given_its_new_name(folder: FederationFolder) -> None:
    renewals, _ = renew(folder, more_hosts=["new.example"])
    assert [renewal.path for renewal in renewals if renewal.done] == [folder.broker_identity]
    assert "new.example" in hosts(certificate(folder.broker_identity))
    assert not any(renewal.done for renewal in renew(folder, more_hosts=["new.example"])[0])
    with pytest.raises(ConfigError, match="'new host': "):
        renew(folder, more_hosts=["new host"])


def test_federations_that_share_a_broker_renew_its_certificate_too(
    folder: FederationFolder, tmp_path: Path
) -> None:
    second = FederationFolder(tmp_path / "harbour")
    found(second, Founding("harbour", ["ignored.example"]), beside=folder)
    before = certificate(folder.broker_identity)
    renewals, _ = renew(second, force=True)
    assert [describe(certificate(renewal.path)).common_name for renewal in renewals] == [
        "greenhouse__broker",
        "harbour__aggregator",
        "harbour__watch",
        "greenhouse__registrar",
    ]
    assert certificate(folder.broker_identity) != before


def test_a_foreign_certificate_is_left_alone(folder: FederationFolder) -> None:
    other = FederationFolder(folder.root.parent / "harbour")
    found(other, Founding("harbour", ["broker.example"]))
    folder.watch_identity.write_bytes(other.watch_identity.read_bytes())
    with pytest.raises(StateError, match="'harbour__watch'"):
        renew(folder, force=True)
    folder.watch_identity.write_bytes(b"")
    with pytest.raises(StateError, match="certificate"):
        renew(folder, force=True)
