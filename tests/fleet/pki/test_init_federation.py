"""`fedge init`: everything is there, nobody else reads the keys, and a second run changes nothing."""

import grp
import os
import pwd
import re
import stat
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from agent.config import AgentSettings
from aggregator.config import FederationSettings
from fedge.errors import ConfigError, StateError
from fedge.identity import bundle
from fleet.cli.commands import app
from fleet.pki import init_federation as founding_module
from fleet.pki.certificates import describe
from fleet.pki.enrolment import enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.mosquitto import conf_text, listens_here_only, production_text
from fleet.pki.register import Register

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    folder = FederationFolder(tmp_path / "greenhouse")
    found(folder, Founding("greenhouse", ["broker.example"]))
    return folder


def contents(folder: FederationFolder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}


def test_what_is_generated_is_the_top_level_file_after_substitution(folder: FederationFolder) -> None:
    top = (ROOT / "mosquitto.conf").read_text(encoding="utf-8")
    assert production_text() == top
    full = folder.broker.resolve()
    assert folder.mosquitto_conf.read_text(encoding="utf-8") == re.sub(
        r"(?m)^(\w+) broker/", rf"\1 {full}/", top
    )
    other = conf_text(folder.broker, 1, 2).splitlines()
    changed = [line for line in other if line not in folder.mosquitto_conf.read_text().splitlines()]
    assert changed == ["listener 1", "listener 2"]


def test_private_files_are_private(folder: FederationFolder) -> None:
    modes = {
        str(path.relative_to(folder.root)): stat.S_IMODE(path.stat().st_mode)
        for path in folder.root.rglob("*")
    }
    for name in ("aggregator", "registrar", "devices"):
        assert modes[name] == 0o700
    for name, mode in modes.items():
        if re.search(r"identity.pem|watch.pem|\.key|\.db", name):
            handed = name.startswith("broker/") and modes["broker"] & stat.S_ISGID
            assert mode == (0o640 if handed else 0o600), name
        assert mode & 0o007 == 0 or not name.startswith("broker/"), name
    assert not any(mode & 0o022 for mode in modes.values())


def test_the_brokers_key_is_its_owners_alone_until_it_is_handed_to_mosquitto(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mosquitto reads it as its own user; where there is none, nobody else has to."""
    folder, founding = FederationFolder(tmp_path / "greenhouse"), Founding("greenhouse", ["broker.example"])

    def mode() -> int:
        return stat.S_IMODE(folder.broker_identity.stat().st_mode)

    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: 1000)
        found(folder, founding)
    assert mode() == 0o600
    ours, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(os.getegid())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda *_, **__: None)
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: ours)
    monkeypatch.setattr(grp, "getgrnam", lambda _name: group)
    found(folder, founding)
    assert mode() == 0o640
    folder.broker_identity.unlink()
    noted: list[int] = []
    monkeypatch.setattr(founding_module, "publish", lambda *_: noted.append(mode()))
    found(folder, founding)
    assert noted == [0o640], "Mosquitto may read it when it is told of it"


def test_a_second_run_changes_nothing_and_completes_what_is_missing(folder: FederationFolder) -> None:
    before = contents(folder)
    assert found(folder, Founding("greenhouse", ["elsewhere.example"])) == []
    after = contents(folder)
    dated = {folder.crl, folder.publishing}
    assert {k: v for k, v in after.items() if k not in dated} == {
        k: v for k, v in before.items() if k not in dated
    }
    folder.watch_identity.unlink()
    folder.acl.unlink()
    assert found(folder, Founding("greenhouse", ["elsewhere.example"])) == [folder.watch_identity]
    assert folder.acl.read_bytes() == before[folder.acl]
    lost = before[folder.watch_identity]
    (listed,) = x509.load_pem_x509_crl(folder.crl.read_bytes())
    assert f"{listed.serial_number:x}" == describe(lost[lost.index(b"-----BEGIN CERT") :]).serial


def test_a_folder_of_another_federation_is_left_alone(folder: FederationFolder) -> None:
    before = contents(folder)
    with pytest.raises(ConfigError, match="'greenhouse'"):
        found(folder, Founding("harbour", ["broker.example"]))
    assert contents(folder) == before


def test_a_name_that_the_register_knows_is_not_taken_from_its_folder(
    folder: FederationFolder, tmp_path: Path
) -> None:
    """The certificates of a federation at work would count no more."""
    harbour = FederationFolder(tmp_path / "harbour")
    found(harbour, Founding("harbour", ["broker.example"]), beside=folder)
    before = contents(folder)
    elsewhere = FederationFolder(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=rf"{re.escape(str(folder.root))}.* --folder"):
        found(elsewhere, Founding("greenhouse", ["broker.example"]), beside=folder)
    with pytest.raises(ConfigError, match="'harbour'"):
        found(elsewhere, Founding("harbour", ["broker.example"]), beside=folder)
    assert contents(folder) == before
    assert not elsewhere.root.exists()


@pytest.mark.parametrize("step", ["transaction", "add_certificate"])
def test_a_run_beside_another_that_was_cut_short_goes_on(
    folder: FederationFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    harbour, founding = FederationFolder(tmp_path / "harbour"), Founding("harbour", ["broker.example"])

    def full(*_: object) -> None:
        raise StateError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Register, step, full)
        with pytest.raises(StateError):
            found(harbour, founding, beside=folder)
    assert harbour.aggregator_identity in found(harbour, founding, beside=folder)
    assert found(harbour, founding, beside=folder) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_leaves_a_new_key_of_the_registrar_to_whose_folder_it_is(folder: FederationFolder) -> None:
    for path in (folder.registrar, *folder.registrar.iterdir()):
        os.chown(path, 1234, 1235)
    folder.registrar_identity.unlink()
    folder.watch_identity.unlink()
    found(folder, Founding("greenhouse", ["broker.example"]))
    status = folder.registrar_identity.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1234, 1235, 0o600)
    assert folder.watch_identity.stat().st_uid == 0, "the aggregator's are root's"


def test_lost_settings_are_made_anew(folder: FederationFolder) -> None:
    folder.settings.unlink()
    assert found(folder, Founding("greenhouse", ["broker.example"])) == [folder.settings]


def test_the_settings_it_writes_are_valid(folder: FederationFolder, tmp_path: Path) -> None:
    settings = FederationSettings.load(folder.settings, {})
    assert settings.broker.url == "mqtts://broker.example:8883"
    assert settings.watch is not None
    files = bundle.unpack(enroll(folder, "pi-1").bundle.read_bytes())
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    device = AgentSettings.load(tmp_path / "agent.toml", {})
    assert (device.federation, device.device) == ("greenhouse", "pi-1")
    assert device.broker.url == settings.broker.url
    assert settings.signing.key == folder.signing_key.resolve()
    assert device.trust.key == tmp_path / "signing.pub"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device-days", "8000"], "--device-days 8000: Input should be less than or equal to 3650"),
        (["--server-days", "3651"], "--server-days 3651: Input should be less than or equal to 3650"),
        (["--ca-days", "9999999"], "--ca-days 9999999: expected 1 to 36500"),
        (["--port", "70000"], "--port 70000: Input should be less than or equal to 65535"),
        (["--provisioning-port", "8883"], "--provisioning-port 8883: expected another port"),
        (["--host", "bad host"], "--host 'bad host': expected a name or an address alone"),
        (["--host", "a.example", "--host", "mqtts://a.b:8883"], "--host 'mqtts://a.b:8883': expected a name"),
        (["--host", ""], "--host '': expected a name"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_made(
    tmp_path: Path, options: list[str], words: str
) -> None:
    """What is there is never overwritten: a wrong file would stay."""
    root = tmp_path / "greenhouse"
    command = ["init", "greenhouse", "--folder", str(root)]
    result = CliRunner().invoke(app, [*command, *options])
    assert (result.exit_code, result.stdout) == (78, ""), result.output
    assert result.stderr.startswith(f"fedge init: {words}")
    assert not root.exists()
    assert CliRunner().invoke(app, command).exit_code == 0


@pytest.mark.parametrize(
    ("hosts", "address"),
    [
        ([], " 127.0.0.1"),
        (["localhost"], " 127.0.0.1"),
        (["127.0.0.5", "localhost"], " 127.0.0.5"),
        (["::1"], " ::1"),
        (["127.0.0.1", "192.0.2.7"], ""),
        (["localhost.example"], ""),
        (["broker"], ""),
    ],
)
def test_only_who_says_how_others_reach_the_broker_is_reached_by_others(
    tmp_path: Path, hosts: list[str], address: str
) -> None:
    """Founded for this machine alone it does not listen to others, and says so."""
    root = tmp_path / "greenhouse"
    options = [f"--host={host}" for host in hosts]
    result = CliRunner().invoke(app, ["init", "greenhouse", "--folder", str(root), *options])
    assert result.exit_code == 0
    conf = FederationFolder(root).mosquitto_conf.read_text(encoding="utf-8")
    assert re.findall(r"(?m)^listener .*", conf) == [f"listener 8883{address}", f"listener 8884{address}"]
    assert listens_here_only(conf) == bool(address)
    assert ("# On every interface" in conf, "# On this machine only" in conf) == (not address, bool(address))
    assert ("the broker listens on this machine only: for devices" in result.stderr) == bool(address)


def test_a_broker_for_one_machine_that_gets_a_name_for_others_is_told_of(tmp_path: Path) -> None:
    root = tmp_path / "greenhouse"
    command, conf = ["init", "greenhouse", "--folder", str(root)], root / "broker/mosquitto.conf"
    assert CliRunner().invoke(app, command).exit_code == 0
    todo = f"remove the address from the lines `listener` of {conf}"
    assert todo in CliRunner().invoke(app, [*command, "--host", "broker.example"]).stderr
    renewal = ["renew", "--folder", str(root)]
    assert todo not in CliRunner().invoke(app, renewal).stderr
    assert todo in CliRunner().invoke(app, [*renewal, "--host", "broker.example"]).stderr
    conf.write_text(conf.read_text().replace(" 127.0.0.1\n", "\n"))
    assert todo not in CliRunner().invoke(app, [*renewal, "--host", "other.example"]).stderr
    conf.unlink()
    assert CliRunner().invoke(app, [*renewal, "--host", "third.example"]).exit_code == 0
    assert CliRunner().invoke(app, command).exit_code == 0
    assert listens_here_only(conf.read_text()), "what is lost comes back as it was"


@pytest.mark.parametrize("host", ["2001:DB8::1", "Broker.Example", "192.0.2.7"])
def test_a_host_that_comes_too_late_is_told(tmp_path: Path, host: str) -> None:
    root = tmp_path / "greenhouse"
    command = ["init", "greenhouse", "--folder", str(root)]
    first = CliRunner().invoke(app, [*command, "--host", host])
    assert (first.exit_code, first.stderr) == (0, "")
    again = CliRunner().invoke(app, [*command, "--host", host])
    assert (again.stdout, again.stderr) == (f"{root} is complete; nothing was changed\n", "")
    late = CliRunner().invoke(app, [*command, "--host", host, "--host", "late.example"])
    assert late.exit_code == 0
    assert "--host late.example was ignored" in late.stderr
    assert f"`fedge renew --host late.example --folder {root}`" in late.stderr
    assert CliRunner().invoke(app, ["renew", "--host", "late.example", "--folder", str(root)]).exit_code == 0
    assert CliRunner().invoke(app, [*command, "--host", "late.example"]).stderr == ""
