"""The files of a federation on its server, and who may read them."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from fedge.errors import ConfigError, StateError
from fedge.storage.files import read_file

SECRET, SHARED, PUBLIC = 0o600, 0o640, 0o644
"""File modes: for the owner alone, for the broker's group too, for everybody."""


@dataclass(frozen=True)
class FederationFolder:
    """The paths below one folder; the properties read and create nothing.

    Federations that share an authority and a broker share `registrar/` and `broker/`, by links.
    """

    root: Path

    @property
    def settings(self) -> Path:
        """The aggregator's settings: `federation.toml`."""
        return self.root / "federation.toml"

    @property
    def device_settings(self) -> Path:
        """The part of `agent.toml` that is the same on every device: `[data]` and so on."""
        return self.root / "device.toml"

    @property
    def ca(self) -> Path:
        """The authority's certificate."""
        return self.root / "ca.pem"

    @property
    def aggregator(self) -> Path:
        """Files that only the aggregator reads."""
        return self.root / "aggregator"

    @property
    def aggregator_identity(self) -> Path:
        """Key and certificate of `{federation}__aggregator`."""
        return self.aggregator / "identity.pem"

    @property
    def watch_identity(self) -> Path:
        """Key and certificate of `{federation}__watch`."""
        return self.aggregator / "watch.pem"

    @property
    def signing_key(self) -> Path:
        """The Ed25519 key that models are signed with."""
        return self.aggregator / "signing.key"

    @property
    def signing_public(self) -> Path:
        """Its public half, which devices pin."""
        return self.aggregator / "signing.pub"

    @property
    def registrar(self) -> Path:
        """Files that only the registrar reads."""
        return self.root / "registrar"

    @property
    def ca_key(self) -> Path:
        """The authority's key; its owner can make any identity."""
        return self.registrar / "ca.key"

    @property
    def register(self) -> Path:
        """The database of identities."""
        return self.registrar / "registrar.db"

    @property
    def publishing(self) -> Path:
        """The file that a process locks while it tells the broker its members; it holds when that was last
        done."""
        return self.registrar / "publishing"

    @property
    def unwiped(self) -> Path:
        """Exists while the register's file may still hold what `fedge forget` has removed."""
        return self.registrar / "unwiped"

    @property
    def registrar_identity(self) -> Path:
        """Key and certificate of `{federation}__registrar`."""
        return self.registrar / "identity.pem"

    @property
    def registrar_settings(self) -> Path:
        """Where the broker is and how long certificates last: `registrar.toml`."""
        return self.registrar / "registrar.toml"

    @property
    def broker(self) -> Path:
        """Files that the broker reads."""
        return self.root / "broker"

    @property
    def mosquitto_conf(self) -> Path:
        """The broker's configuration, with full paths."""
        return self.broker / "mosquitto.conf"

    @property
    def acl(self) -> Path:
        """Who may publish and read what."""
        return self.broker / "acl"

    @property
    def passwords(self) -> Path:
        """Who may log in on the provisioning listener."""
        return self.broker / "passwords"

    @property
    def broker_ca(self) -> Path:
        """The authority's certificate, for the broker."""
        return self.broker / "ca.pem"

    @property
    def crl(self) -> Path:
        """The revoked certificates."""
        return self.broker / "crl.pem"

    @property
    def broker_identity(self) -> Path:
        """Key and certificate of the broker itself."""
        return self.broker / "identity.pem"

    @property
    def broker_data(self) -> Path:
        """Files that the broker writes: its database and its process id."""
        return self.broker / "data"

    @property
    def broker_pid(self) -> Path:
        """The broker's process id, to signal it."""
        return self.broker_data / "mosquitto.pid"

    @property
    def devices(self) -> Path:
        """Bundles for devices."""
        return self.root / "devices"

    @property
    def observer_identity(self) -> Path:
        """Key and certificate of `{federation}__observer`, for dashboards."""
        return self.devices / "observer.pem"

    def bundle(self, device: str) -> Path:
        """The bundle of one device."""
        return self.devices / f"{device}.fedge"

    def federation(self) -> str:
        """The federation's name.

        Raises:
            ConfigError: this is no federation's folder.
        """
        try:
            name = tomllib.loads(read_file(self.settings).decode("utf-8-sig"))["federation"]["name"]
        except FileNotFoundError:
            raise ConfigError(
                f"{self.root}: there is no federation.toml: `fedge init NAME` makes a federation's folder, "
                "and --folder names it"
            ) from None
        except OSError as error:
            raise ConfigError(f"{self.settings}: cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self.settings}: [federation] name cannot be read: {error}") from None
        return str(name)


def read(path: Path) -> bytes:
    """A file of the folder.

    Raises:
        StateError: it does not exist or may not be read; the text says who may.
    """
    try:
        return read_file(path)
    except PermissionError:
        raise StateError(f"{path}: may not be read by this user; its owner, or root, may") from None
    except OSError as error:
        raise StateError(
            f"{path}: cannot be read: {error.strerror}; `fedge init` makes what is missing"
        ) from None
