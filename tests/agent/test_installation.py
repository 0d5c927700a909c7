"""What `fedge-agent install` reads and writes, without a system to install on."""

import errno
import os
from pathlib import Path

import pytest

from agent.cli.installation import commands, configuration
from agent.cli.installation.commands import install, uninstall
from agent.cli.installation.configuration import configure
from agent.cli.installation.source import Claim, identity_of, read_source
from fedge.errors import ConfigError
from fedge.identity import bundle
from tests.wording import telling

FILES = {
    bundle.AGENT: b'federation = "greenhouse"\ndevice = "pi-1"\n',
    bundle.IDENTITY: b"key and certificate",
    bundle.CA: b"authority",
    bundle.SIGNING: b"public key",
    bundle.RENEWAL: b"password\n",
}


def test_a_bundle_and_the_folder_it_came_from_read_the_same(tmp_path: Path) -> None:
    (tmp_path / "pi-1.fedge").write_bytes(bundle.pack(FILES))
    folder = tmp_path / "joined"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "data.csv").touch()
    assert read_source(tmp_path / "pi-1.fedge") == read_source(folder) == FILES
    assert identity_of(FILES[bundle.AGENT], folder) == ("greenhouse", "pi-1")


def test_a_bundle_without_a_key_is_not_installed(tmp_path: Path) -> None:
    files = {name: content for name, content in FILES.items() if name != bundle.IDENTITY}
    (tmp_path / "pi-1.fedge").write_bytes(bundle.pack({**files, bundle.CERTIFICATE: b"certificate"}))
    with pytest.raises(ConfigError, match=telling("identity.pem", "`fedge-agent join`")):
        read_source(tmp_path / "pi-1.fedge")
    with pytest.raises(ConfigError, match=telling("agent.toml, ca.pem, identity.pem ")):
        read_source(tmp_path)
    with pytest.raises(ConfigError, match=telling("pi-2.fedge: ", os.strerror(errno.ENOENT))):
        read_source(tmp_path / "pi-2.fedge")


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"federation = 1", b'federation = "../a"', b"federation", b"\xff"),
        *(b'federation = "greenhouse"', b'federation = "greenhouse"\ndevice = "../a"'),
    ],
)
def test_what_cannot_be_a_name_is_refused(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"agent\.toml"):
        identity_of(text, tmp_path)


def test_what_was_edited_or_renewed_stays(tmp_path: Path) -> None:
    folder = tmp_path / "greenhouse"
    assert configure(folder, FILES)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES} == FILES
    for name in FILES:
        secret = name in (bundle.IDENTITY, bundle.RENEWAL)
        assert (folder / name).stat().st_mode & 0o777 == (0o600 if secret else 0o644)
    (folder / bundle.AGENT).write_bytes(b"edited")
    (folder / bundle.IDENTITY).write_bytes(b"renewed")
    assert not configure(folder, FILES)
    assert (folder / bundle.IDENTITY).read_bytes() == b"renewed"
    (folder / bundle.CA).unlink()
    assert configure(folder, FILES)
    assert (folder / bundle.CA).read_bytes() == FILES[bundle.CA]
    assert (folder / bundle.IDENTITY).read_bytes() == b"renewed"
    assert configure(folder, {**FILES, bundle.IDENTITY: b"another"})
    assert (folder / bundle.IDENTITY).read_bytes() == b"another"
    assert (folder / bundle.AGENT).read_bytes() == b"edited"


def test_another_device_does_not_take_over_the_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installed one keeps its key, and nothing was made for the other."""
    monkeypatch.setattr(commands, "CONFIGURATIONS", tmp_path / "agents")
    monkeypatch.setattr(commands, "require_root", lambda _command: None)
    monkeypatch.setattr(commands, "AGENT", None)
    folder = tmp_path / "agents" / "greenhouse"
    configure(folder, FILES)
    other = tmp_path / "pi-2.fedge"
    other.write_bytes(bundle.pack({**FILES, bundle.AGENT: FILES[bundle.AGENT].replace(b"pi-1", b"pi-2")}))
    words = r"'pi-1' of federation 'greenhouse' .* 'pi-2' of .* fedge-agent uninstall greenhouse --purge"
    for source in (other, Claim("greenhouse", "pi-2", "token")):
        with pytest.raises(ConfigError, match=words):
            install(source, None)
    (folder / bundle.AGENT).write_bytes(FILES[bundle.AGENT].replace(b"greenhouse", b"garden"))
    with pytest.raises(ConfigError, match=telling("'garden'")):
        install(Claim("greenhouse", "pi-1", "token"), None)
    assert (folder / bundle.IDENTITY).read_bytes() == FILES[bundle.IDENTITY]


def test_a_renewed_key_outlives_being_uninstalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (commands, configuration):
        monkeypatch.setattr(module, "CONFIGURATIONS", tmp_path)
    monkeypatch.setattr(commands, "require_root", lambda _command: None)
    monkeypatch.setattr(commands.units, "retire", lambda *_arguments: None)
    monkeypatch.setattr(commands.units, "is_enabled", lambda _unit: True)  # another one needs the program
    folder = tmp_path / "greenhouse"
    configure(folder, FILES)
    (folder / bundle.IDENTITY).write_bytes(b"renewed")
    uninstall("greenhouse", purge=False)
    configure(folder, FILES)
    assert (folder / bundle.IDENTITY).read_bytes() == b"renewed"
