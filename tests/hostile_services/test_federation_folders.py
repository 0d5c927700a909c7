"""Root works in a federation's folder, in which services' users have put links; see `planted.py`."""

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from aggregator.cli.installation import ownership
from fleet.pki import init_folders
from fleet.pki.device_list import listing
from fleet.pki.enrolment import admit_observer, enroll, enroll_all
from fleet.pki.folder import FederationFolder
from fleet.pki.identity import Identity
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.renewal import renew
from fleet.pki.revocation import revoke
from fleet.pki.signing_key import rotate_signing_key
from fleet.pki.tokens import promise
from tests.hostile_services.planted import BROKER, PLANTED, ROOT_ONLY, SERVICE, Outside, attempt, plant
from tests.wording import assert_tells

pytestmark = pytest.mark.slow


NEW = Founding("greenhouse", ["broker.example"])


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pristine") / "greenhouse"
    folder = FederationFolder(root)
    found(folder, NEW)
    enroll(folder, "pi-1")
    return root


@pytest.fixture
def folder(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FederationFolder:
    """As it is when it was installed: `registrar/` and `broker/` belong to the registrar's user."""
    monkeypatch.setattr(init_folders, "BROKER_GROUP", "root")  # there is such a group everywhere
    root = tmp_path / "greenhouse"
    shutil.copytree(pristine, root)
    for part, owner in (("registrar", SERVICE), ("broker", SERVICE)):
        for path in (root / part, *(root / part).iterdir()):
            os.chown(path, owner, owner)
    os.chown(root / "broker" / "data", BROKER, BROKER)
    return FederationFolder(root)


def sign_anew(folder: FederationFolder) -> None:
    rotate_signing_key(folder.signing_key, folder.signing_public, "greenhouse")


WORK: dict[str, Callable[[FederationFolder], object]] = {
    "init": lambda folder: found(folder, NEW),
    "enroll": lambda folder: enroll(folder, "pi-2"),
    "enroll many": lambda folder: enroll_all(folder, [Identity("greenhouse", f"pi-{n}") for n in (3, 4)]),
    "observer": admit_observer,
    "token": lambda folder: promise(folder, 1, timedelta(hours=1)),
    "revoke": lambda folder: revoke(folder, "pi-1"),
    "renew": lambda folder: renew(folder, force=True),
    "devices": listing,
    "rotate-key": sign_anew,
}

OF_SERVICES = (
    "registrar/ca.key", "registrar/identity.pem", "registrar/registrar.toml", "registrar/registrar.db",
    "registrar/registrar.db-wal", "registrar/registrar.db-shm", "registrar/registrar.db-journal",
    "broker/acl", "broker/passwords", "broker/crl.pem", "broker/ca.pem", "broker/identity.pem",
    "broker/mosquitto.conf", "broker/data", "broker/data/mosquitto.pid", "registrar/publishing",
)  # fmt: skip


@ROOT_ONLY
@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("name", OF_SERVICES)
def test_no_command_is_led_out_of_the_folder_by_what_stands_for_a_file(
    folder: FederationFolder, outside: Outside, name: str, kind: str
) -> None:
    for work in WORK.values():
        if (folder.root / name).parent.is_dir() and (folder.root / name).parent.resolve() != outside.folder:
            plant(folder.root / name, kind, outside)
        attempt(lambda work=work: work(folder))  # type: ignore[misc]
        assert outside.is_as_it_was(), work


@ROOT_ONLY
@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("work", WORK)
def test_no_command_is_led_out_by_a_name_that_it_writes_to_first(
    folder: FederationFolder, outside: Outside, work: str, kind: str
) -> None:
    for name in OF_SERVICES[:12]:
        path = folder.root / name
        for temporary in (f".{path.name}.new", f".{path.name}.{os.getpid()}", f"{path.name}.tmp"):
            plant(path.with_name(temporary), kind, outside)
        if work == "init" and not name.endswith((".db", ".key", ".toml")):
            path.unlink(missing_ok=True)  # so that it is made anew
    refused = attempt(lambda: WORK[work](folder))
    if work == "init" and kind in ("hard", "pipe"):  # it hands over all that is there
        assert refused is not None
    else:
        assert refused is None, "what lies beside is no hindrance"
    assert outside.is_as_it_was()


@ROOT_ONLY
def test_what_a_link_points_at_is_not_told_to_everybody(folder: FederationFolder, outside: Outside) -> None:
    """`ca.pem` of the folder is public, and made from that in `broker/`."""
    folder.ca.unlink()
    plant(folder.broker_ca, "link", outside)
    refused = attempt(lambda: found(folder, NEW))
    assert refused is not None
    assert_tells(refused, "ca.pem", "link")
    assert not folder.ca.exists()


@ROOT_ONLY
def test_a_link_of_roots_own_is_followed_where_only_root_could_put_it(
    folder: FederationFolder, tmp_path: Path
) -> None:
    """As `registrar/` and `broker/` of a federation that shares another's."""
    second = FederationFolder(tmp_path / "harbour")
    assert attempt(lambda: found(second, Founding("harbour", ["broker.example"]), folder)) is None
    assert second.broker.is_symlink()
    assert attempt(lambda: enroll(second, "pi-1")) is None
    assert "harbour_pi-1" in folder.acl.read_text()


@ROOT_ONLY
@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("part", ["registrar", "broker"])
def test_installing_again_gives_nothing_away_that_was_linked_there(
    folder: FederationFolder, outside: Outside, part: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "REGISTRAR", "root")
    monkeypatch.setattr(ownership, "run", lambda _command: "")
    for name in ("extra", "identity.pem"):
        plant(folder.root / part / name, kind, outside)
    for work in (ownership.hand_over, lambda root: ownership.give_back([root])):
        attempt(lambda work=work: work(folder.root))  # type: ignore[misc]
        assert outside.is_as_it_was()
