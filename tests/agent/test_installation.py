"""What `fedge-agent install` reads and writes, without a system to install on."""

from pathlib import Path

import pytest

from agent.installation import configure, federation_of, read_source
from fedge import bundle
from fedge.errors import ConfigError

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
    assert federation_of(FILES[bundle.AGENT], folder) == "greenhouse"


def test_a_bundle_without_a_key_is_not_installed(tmp_path: Path) -> None:
    files = {name: content for name, content in FILES.items() if name != bundle.IDENTITY}
    (tmp_path / "pi-1.fedge").write_bytes(bundle.pack({**files, bundle.CERTIFICATE: b"certificate"}))
    with pytest.raises(ConfigError, match=r"identity\.pem is missing; `fedge-agent join`"):
        read_source(tmp_path / "pi-1.fedge")
    with pytest.raises(ConfigError, match=r"agent\.toml, ca\.pem, identity\.pem is missing"):
        read_source(tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        read_source(tmp_path / "pi-2.fedge")


@pytest.mark.parametrize("text", [b"", b"federation = 1", b'federation = "../a"', b"federation", b"\xff"])
def test_a_federation_that_cannot_be_a_name_is_refused(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"agent\.toml"):
        federation_of(text, tmp_path)


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
    assert configure(folder, {**FILES, bundle.IDENTITY: b"another"})
    assert (folder / bundle.IDENTITY).read_bytes() == b"another"
    assert (folder / bundle.AGENT).read_bytes() == b"edited"
