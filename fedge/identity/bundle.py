"""A device's bundle: one file with all that a device needs to belong to a federation.

It is an uncompressed tar file with known names only. It is read name by name and never unpacked as an
archive, so its files cannot be written to another place.
"""

import io
import json
import tarfile
from collections.abc import Mapping

from fedge.errors import ConfigError

SUFFIX = ".fedge"
AGENT, IDENTITY, CERTIFICATE, CA = "agent.toml", "identity.pem", "certificate.pem", "ca.pem"
SIGNING, RENEWAL = "signing.pub", "renewal.password"
REQUIRED = frozenset({AGENT, CA, SIGNING, RENEWAL})
SECRETS = frozenset({IDENTITY, RENEWAL})
"""The files that only the agent may read."""
MAX_FILE = 65_536
MAX_BUNDLE = 1_000_000

_AGENT = """\
# One device of a federation: who it is, where the broker is, whom it trusts.

federation = {federation}
device = {device}

[broker]
url = {url}
ca = "ca.pem"                     # the authority that signed the broker's certificate and ours
certificate = "identity.pem"      # key and certificate in one file, so that both are renewed at once
key = "identity.pem"

[trust]
key = "signing.pub"               # only models signed with its private key are accepted

[renewal]
port = {provisioning_port}
password_file = "renewal.password"

"""


def agent_toml(
    federation: str, device: str, host: str, port: int, provisioning_port: int, settings: str
) -> str:
    """The `agent.toml` of a device, for a folder with the bundle's files.

    Args:
        federation: the federation of the device.
        device: its id.
        host: the broker's name or address.
        port: the listener for clients with a certificate.
        provisioning_port: the listener for renewals.
        settings: further TOML, the same for every device: `[data]` and so on.
    """
    head = _AGENT.format(
        federation=json.dumps(federation),
        device=json.dumps(device),
        url=json.dumps(broker_url(host, port)),
        provisioning_port=provisioning_port,
    )
    return head + settings


def broker_url(host: str, port: int) -> str:
    """The address of a broker that speaks TLS.

    >>> broker_url("::1", 8883)
    'mqtts://[::1]:8883'
    """
    return f"mqtts://[{host}]:{port}" if ":" in host else f"mqtts://{host}:{port}"


def pack(files: Mapping[str, bytes]) -> bytes:
    """Make a bundle; the same files give the same bytes.

    Args:
        files: content by name: `agent.toml`, `ca.pem`, `signing.pub`, `renewal.password`, and
            either `identity.pem` (key, then certificate) or, where the device made its key itself,
            `certificate.pem`.

    Raises:
        ConfigError: a file is missing, unknown or too long.
    """
    _check(files)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o600
            archive.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """Return the files of a bundle by name: the inverse of `pack`.

    Raises:
        ConfigError: the data are not a bundle, or hold a file that does not belong in one.
    """
    if len(data) > MAX_BUNDLE:
        raise ConfigError(
            f"not a bundle of `fedge enroll`: {len(data)} bytes, at most {MAX_BUNDLE} are allowed"
        )
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for entry in archive:
                content = archive.extractfile(entry) if entry.isreg() else None
                if content is None or entry.name in files or entry.size > MAX_FILE:
                    raise ConfigError(f"{entry.name!r} does not belong in a bundle")
                files[entry.name] = content.read()
    except (tarfile.TarError, EOFError) as error:
        raise ConfigError(f"not a bundle of `fedge enroll`, or damaged: {error}") from None
    except ValueError:  # tarfile passes on some errors of int() and seek(), whose text may quote a key
        raise ConfigError("not a bundle of `fedge enroll`, or damaged: its headers are wrong") from None
    _check(files)
    return files


def _check(files: Mapping[str, bytes]) -> None:
    own = {IDENTITY, CERTIFICATE} & files.keys()
    if unknown := sorted(files.keys() - REQUIRED - own):
        raise ConfigError(f"{unknown[0]!r} does not belong in a bundle")
    if missing := sorted(REQUIRED - files.keys()):
        raise ConfigError(f"the bundle lacks {', '.join(missing)}")
    if len(own) != 1:
        raise ConfigError(f"a bundle must hold either {IDENTITY} or {CERTIFICATE}")
    for name, content in files.items():
        if len(content) > MAX_FILE:
            raise ConfigError(f"{name}: {len(content)} bytes; at most {MAX_FILE} in a bundle")
