"""What `fedge-aggregator install` does with a federation's folder, without a system to install on."""

import errno
import grp
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aggregator.cli.installation import broker, commands, ownership, services
from aggregator.cli.installation.broker import point_broker
from aggregator.cli.installation.folder import FEDERATIONS, FILES, look_up, take_in
from aggregator.cli.installation.ownership import hand_over
from fedge.deployment import units
from fedge.errors import ConfigError, DeploymentError
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found as found_federation
from fleet.pki.init_options import Founding
from tests.wording import telling


def found(folder: Path, name: str = "greenhouse") -> Path:
    (folder / "broker").mkdir(parents=True)
    (folder / "federation.toml").write_text(f'[federation]\nname = "{name}"\n')
    (folder / "broker" / "mosquitto.conf").write_text(
        f"listener 8883\nacl_file {folder}/broker/acl\npersistence_location {folder}/broker/data/\n"
    )
    return folder


def test_a_folder_is_moved_to_its_place_once(tmp_path: Path) -> None:
    place = tmp_path / "federations"
    source = found(tmp_path / "elsewhere")
    folder = take_in(source, place)
    assert folder == place / "greenhouse"
    assert not source.exists()
    assert (folder / "broker" / "mosquitto.conf").read_text() == (
        f"listener 8883\nacl_file {folder}/broker/acl\npersistence_location {folder}/broker/data/\n"
    )
    assert take_in(folder, place) == folder
    with pytest.raises(ConfigError, match=telling(f"{place}")):
        take_in(found(tmp_path / "second"), place)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `fedge init` makes."""
    root = tmp_path_factory.mktemp("federations") / "greenhouse"
    found_federation(FederationFolder(root), Founding("greenhouse", ["broker.example"]))
    return root


def test_a_folder_is_found_by_its_name_too(whole: Path) -> None:
    assert look_up(whole) == whole
    assert look_up(Path("greenhouse"), whole.parent) == whole
    with pytest.raises(ConfigError, match="fedge init NAME"):
        look_up(Path("harbour"), whole.parent)


def test_a_folder_that_was_not_finished_is_refused(whole: Path, tmp_path: Path) -> None:
    """Each file that a power cut can have prevented is named, and `fedge init` again makes it whole."""
    made = {str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file()}
    made.discard("registrar/publishing")  # a lock, which any process makes that needs it
    assert set(FILES) == made
    for file in sorted(made - {"federation.toml"}):
        (whole / file).rename(tmp_path / "aside")
        with pytest.raises(
            ConfigError, match=telling("greenhouse: ", file, "`fedge init greenhouse --folder")
        ):
            look_up(whole)
        (tmp_path / "aside").rename(whole / file)
    for file in ("broker/crl.pem", "aggregator/watch.pem", "device.toml"):
        (whole / file).unlink()
    with pytest.raises(ConfigError, match=telling("device.toml, aggregator/watch.pem, broker/crl.pem ")):
        look_up(whole)
    found_federation(FederationFolder(whole), Founding("greenhouse", ["broker.example"]))
    assert look_up(whole) == whole


def test_secrets_that_move_to_another_disk_are_never_open_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = found(tmp_path / "elsewhere")
    (source / "ca.key").touch(0o600)
    modes: dict[str, int] = {}
    copystat = shutil.copystat

    real = os.rename

    def rename(source: str, target: str, **folders: int) -> None:
        if folders:  # within one
            return real(source, target, **folders)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def noted(origin: str, copy: str, **options: bool) -> None:
        modes[Path(copy).name] = Path(copy).stat().st_mode & 0o777
        copystat(origin, copy, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", rename)
        patched.setattr(shutil, "copystat", noted)
        before = os.umask(0o022)
        try:
            folder = take_in(source, tmp_path / "federations")
            assert os.umask(before) == 0o022, "what comes after has the mask of before"
        finally:
            os.umask(before)
    assert modes["ca.key"] == 0o600
    assert modes["broker"] == modes["greenhouse"] == 0o700
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (folder / "federation.toml").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("text", [None, "[federation", "[federation]\nname = 3\n", "name = 'x'\n"])
def test_another_folder_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "federation.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"federation\.toml"):
        take_in(tmp_path, tmp_path / "federations")


def test_a_folder_that_shares_a_broker_is_made_in_its_place(tmp_path: Path) -> None:
    first, second = found(tmp_path / "one"), tmp_path / "two"
    second.mkdir()
    (second / "federation.toml").write_text('[federation]\nname = "two"\n')
    (second / "broker").symlink_to(first / "broker")
    with pytest.raises(ConfigError, match=telling("broker")):
        take_in(second, tmp_path / "federations")


def test_mosquitto_is_the_broker_of_one_authority(tmp_path: Path) -> None:
    link = tmp_path / "broker"
    first, other, beside = found(tmp_path / "one"), found(tmp_path / "other"), tmp_path / "beside"
    point_broker(first, link)
    point_broker(first, link)
    assert link.resolve() == first / "broker"
    beside.mkdir()
    (beside / "broker").symlink_to(first / "broker")
    point_broker(beside, link)
    with pytest.raises(ConfigError, match=r"--beside .*/one"):
        point_broker(other, link)


def test_the_certificates_of_every_federation_that_runs_are_looked_at_daily(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also of one that was installed by a version without the timer: an upgrade brings it."""
    told: list[tuple[str, ...]] = []

    def systemctl(*arguments: str) -> str:
        told.append(arguments)
        names = ("the-aggregator", "harbour") if arguments[-1] == "fedge-aggregator@*.service" else ()
        return "\n".join(f"fedge-aggregator@{name}.service loaded active running" for name in names)

    monkeypatch.setattr(units, "systemctl", systemctl)
    services.start(None, again=True)
    timers = [arguments[-1] for arguments in told if "--now" in arguments]
    assert timers == ["fedge-renew-server@the-aggregator.timer", "fedge-renew-server@harbour.timer"]


@pytest.mark.parametrize("given", [True, False])
def test_the_access_lists_are_written_before_anything_of_the_new_version_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    """Of the federation that is installed, and of all whose registrar runs; by the new version's program."""
    done: list[str] = []
    folder, harbour = FEDERATIONS / "greenhouse", FEDERATIONS / "harbour"

    class Server:
        link = current = tmp_path / "server.1"

        @contextmanager
        def next(self, _wheel: None) -> Iterator[Path]:
            yield tmp_path / "server.2"

        def switch(self, environment: Path) -> None:
            done.append(f"switch to {environment.name}")

        def tidy(self) -> None:
            pass

    def run(command: list[str | Path]) -> str:
        done.append(" ".join(str(word) for word in command))
        return ""

    running = {
        "fedge-registrar@.service": ["fedge-registrar@greenhouse.service", "fedge-registrar@harbour.service"]
    }
    for name in ("require_root", "hand_over", "point_broker"):
        monkeypatch.setattr(commands, name, lambda _: None)
    monkeypatch.setattr(commands, "look_up", lambda source: source)
    monkeypatch.setattr(commands, "take_in", lambda source: source)
    monkeypatch.setattr(commands, "find", lambda name: name)
    monkeypatch.setattr(commands, "SERVER", Server())
    monkeypatch.setattr(commands, "run", run)
    monkeypatch.setattr(broker, "run", run)
    monkeypatch.setattr(commands, "start", lambda *_, **__: done.append("start"))
    monkeypatch.setattr(units, "instances", lambda template: running.get(template, []))
    monkeypatch.setattr(units, "place", lambda *_: False)
    monkeypatch.setattr(units, "place_units", lambda *_: False)
    commands.install(folder if given else None, None)
    fedge = tmp_path / "server.2/bin/fedge"
    assert done[-4:] == [
        "switch to server.2",
        f"{fedge} init greenhouse --folder {folder}",
        f"{fedge} init harbour --folder {harbour}",
        "start",
    ]


def test_owners_change_of_files_and_never_through_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service may put links into the folder that is its own; followed, one to nowhere would be an error."""
    folder = found(tmp_path / "greenhouse")
    (folder / "registrar").mkdir()
    (folder / "broker" / "data").symlink_to(tmp_path / "nowhere")
    identity = folder / "broker" / "identity.pem"
    identity.touch(0o600)
    for part in ("registrar", "broker"):
        (folder / part / "link").symlink_to(tmp_path / "nowhere")
    ours, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(os.getegid())
    given = set[str]()

    def noted(descriptor: int, _user: int, _group: int) -> None:
        given.add(str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(folder)))

    monkeypatch.setattr(pwd, "getpwnam", lambda _name: ours)
    monkeypatch.setattr(grp, "getgrnam", lambda _name: group)
    monkeypatch.setattr(ownership, "run", lambda _command: "")
    monkeypatch.setattr(os, "fchown", noted)
    hand_over(folder)
    assert identity.stat().st_mode & 0o777 == 0o640, "the broker's key is its group's to read"
    broker = {"broker", "broker/mosquitto.conf", "broker/identity.pem"}
    assert given == {"registrar"} | broker
    given.clear()
    ownership.give_back([folder])
    assert given == {"broker", "registrar"}
    other = tmp_path / "other.key"
    other.touch(0o600)
    identity.unlink()
    identity.symlink_to(other)
    with pytest.raises(DeploymentError, match=telling(f"{folder}: ", identity.name)):
        hand_over(folder)
    assert other.stat().st_mode & 0o777 == 0o600
