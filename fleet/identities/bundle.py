"""What stands in a device's bundle."""

import json
import tomllib

from fedge import bundle
from fedge.errors import ConfigError
from fleet.identities.folder import FederationFolder, read
from fleet.identities.settings import RegistrarSettings

_AGENT = """\
# One device of a federation, written by `fedge enroll`: who it is, where the broker is, whom it trusts.

federation = {federation}
device = {device}

[broker]
url = {url}
ca = "ca.pem"                     # the authority that signed the broker's certificate and ours
certificate = "identity.pem"      # key and certificate in one file, so that both are renewed at once
key = "identity.pem"

[trust]
key = "signing.pub"               # only models signed with the other half of this key are taken

"""
_OURS = ("federation", "device", "broker", "trust")


def make_bundle(
    folder: FederationFolder,
    settings: RegistrarSettings,
    device: str,
    *,
    password: str,
    identity: bytes | None = None,
    certificate: bytes | None = None,
) -> bytes:
    """The bundle of one device: with its identity, or with the certificate for a key that it made itself.

    Raises:
        ConfigError: `device.toml` cannot be read, or says what the bundle says.
        StateError: a file of the folder cannot be read.
    """
    files = {
        bundle.AGENT: agent_toml(folder, settings, device).encode(),
        bundle.CA: read(folder.ca),
        bundle.SIGNING: read(folder.signing_public),
        bundle.RENEWAL: f"{password}\n".encode(),
    }
    if identity is not None:
        files[bundle.IDENTITY] = identity
    if certificate is not None:
        files[bundle.CERTIFICATE] = certificate
    return bundle.pack(files)


def agent_toml(folder: FederationFolder, settings: RegistrarSettings, device: str) -> str:
    """A device's configuration: who it is, then the folder's `device.toml` as it stands.

    Raises:
        ConfigError: `device.toml` cannot be read, or says what is said here.
    """
    text = read(folder.device_settings).decode("utf-8-sig", errors="replace")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{folder.device_settings}: not valid TOML: {error}") from None
    if said := [key for key in _OURS if key in content]:
        raise ConfigError(
            f"{folder.device_settings}: {said[0]} is written by `fedge enroll`, for each device its own: "
            "take it out"
        )
    host, port = settings.broker.host, settings.broker.port
    url = f"mqtts://[{host}]:{port}" if ":" in host else f"mqtts://{host}:{port}"
    head = _AGENT.format(
        federation=json.dumps(folder.federation()), device=json.dumps(device), url=json.dumps(url)
    )
    return head + text
