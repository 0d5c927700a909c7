"""A bundle holds what a device needs, and nothing that lands anywhere else."""

import io
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.errors import ConfigError
from fedge.identity import bundle

FILES = {
    "agent.toml": b"device = 'pi-1'",
    "ca.pem": b"CA",
    "identity.pem": b"KEY CERT",
    "renewal.password": b"secret\n",
    "signing.pub": b"PUB",
}


def tar(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for entry, content in members:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def all_and(entry: tarfile.TarInfo, content: bytes = b"") -> bytes:
    return tar(*((tarfile.TarInfo(name), data) for name, data in FILES.items()), (entry, content))


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def saying(name: str, text: str) -> tarfile.TarInfo:
    """A file with a header of its own."""
    entry = tarfile.TarInfo("extra.txt")
    entry.pax_headers = {name: text}
    return entry


def test_what_is_packed_is_unpacked() -> None:
    assert bundle.unpack(bundle.pack(FILES)) == FILES
    by_request = {
        ("certificate.pem" if name == "identity.pem" else name): data for name, data in FILES.items()
    }
    assert bundle.unpack(bundle.pack(by_request)) == by_request


def test_the_same_files_give_the_same_bytes() -> None:
    assert bundle.pack(FILES) == bundle.pack(dict(reversed(FILES.items())))


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_is_missing_is_named(name: str) -> None:
    rest = {key: data for key, data in FILES.items() if key != name}
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        bundle.pack(rest)
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        bundle.unpack(tar(*((tarfile.TarInfo(key), data) for key, data in rest.items())))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(all_and(tarfile.TarInfo("../../etc/passwd"), b"x"), id="a path upwards"),
        pytest.param(all_and(tarfile.TarInfo("/etc/passwd"), b"x"), id="a full path"),
        pytest.param(all_and(tarfile.TarInfo("./ca.pem"), b"x"), id="another spelling"),
        pytest.param(all_and(tarfile.TarInfo("extra.txt"), b"x"), id="an unknown name"),
        pytest.param(all_and(tarfile.TarInfo("ca.pem"), b"x"), id="a name twice"),
        pytest.param(all_and(tarfile.TarInfo("certificate.pem"), b"x"), id="two certificates"),
        pytest.param(all_and(link("more", "/etc/passwd")), id="a symbolic link"),
        pytest.param(all_and(link("more", "ca.pem", tarfile.LNKTYPE)), id="a hard link"),
        pytest.param(all_and(link("more", "", tarfile.FIFOTYPE)), id="a pipe"),
        pytest.param(all_and(tarfile.TarInfo("big"), bytes(bundle.MAX_FILE + 1)), id="a long file"),
        pytest.param(tar(*((tarfile.TarInfo(n), d) for n, d in FILES.items()), mode="w:gz"), id="compressed"),
        pytest.param(all_and(saying("GNU.sparse.map", "a")), id="no number"),
        pytest.param(bundle.pack(FILES)[:1_000], id="cut short"),
        pytest.param(bytes(bundle.MAX_BUNDLE + 1), id="endless"),
        pytest.param(b"", id="empty"),
        pytest.param(b"-----BEGIN CERTIFICATE-----", id="something else"),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError):
        bundle.unpack(data)


@given(st.binary(max_size=2_000), st.integers(0, 9_000))
def test_no_bytes_do_harm(noise: bytes, at: int) -> None:
    whole = bundle.pack(FILES)
    for data in (noise, whole[:at] + noise + whole[at + len(noise) :]):
        with suppress(ConfigError):
            assert set(bundle.unpack(data)) == set(FILES)
