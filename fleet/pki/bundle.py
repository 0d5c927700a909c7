"""The content of a device's bundle."""

import tomllib
from dataclasses import dataclass
from typing import Self

from fedge.errors import ConfigError
from fedge.identity import bundle
from fleet.pki.folder import FederationFolder, read
from fleet.pki.settings import BrokerAddress, RegistrarSettings

_OURS = ("federation", "device", "broker", "trust", "renewal")
"""Tables and keys that are written for each device and must not be in `device.toml`."""


@dataclass(frozen=True)
class Common:
    """The common parts of the bundles of a federation, read once for many devices."""

    federation: str
    broker: BrokerAddress
    settings: str
    """The text of `device.toml`."""
    ca: bytes
    signing: bytes
    """PEM, as `ca`."""

    @classmethod
    def read(cls, folder: FederationFolder, settings: RegistrarSettings) -> Self:
        """From a federation's folder.

        Raises:
            ConfigError: `device.toml` cannot be read, or sets a key that the bundle sets.
            StateError: a file of the folder cannot be read.
        """
        return cls(
            federation=folder.federation(),
            broker=settings.broker,
            settings=device_settings(folder),
            ca=read(folder.ca),
            signing=read(folder.signing_public),
        )

    def bundle(
        self, device: str, *, password: str, identity: bytes | None = None, certificate: bytes | None = None
    ) -> bytes:
        """The bundle of one device: with its identity, or with the certificate for a key that it made itself.

        Raises:
            ConfigError: a part is too long.
        """
        broker = self.broker
        agent_toml = bundle.agent_toml(
            self.federation, device, broker.host, broker.port, broker.provisioning_port, self.settings
        )
        files = {
            bundle.AGENT: agent_toml.encode(),
            bundle.CA: self.ca,
            bundle.SIGNING: self.signing,
            bundle.RENEWAL: f"{password}\n".encode(),
        }
        if identity is not None:
            files[bundle.IDENTITY] = identity
        if certificate is not None:
            files[bundle.CERTIFICATE] = certificate
        return bundle.pack(files)


def device_settings(folder: FederationFolder) -> str:
    """The part of `agent.toml` that is the same on every device: the text of the folder's `device.toml`.

    Raises:
        ConfigError: it cannot be read, or sets a key that is written for each device.
    """
    text = read(folder.device_settings).decode("utf-8-sig", errors="replace")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{folder.device_settings}: not valid TOML: {error}") from None
    if said := [key for key in _OURS if key in content]:
        raise ConfigError(
            f"{folder.device_settings}: {said[0]} is written by `fedge enroll`, with a value for each "
            "device: remove it"
        )
    return text
