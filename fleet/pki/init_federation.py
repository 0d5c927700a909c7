"""`fedge init`: make a federation's folder. Existing files stay, so an interrupted run can be repeated.

To replace a key of the server that others may have seen, remove its file and run this again: the earlier
certificate is revoked.
"""

import json
import stat
from pathlib import Path

from fedge.errors import ConfigError
from fedge.storage.atomic_files import give_to_owner
from fedge.storage.files import create
from fleet.pki.authority import Authority
from fleet.pki.certificates import utc_now
from fleet.pki.folder import PUBLIC, SECRET, SHARED, FederationFolder, read
from fleet.pki.identity import Identity, Role
from fleet.pki.init_folders import hand_to_broker, make_folders
from fleet.pki.init_options import Founding, refuse_wrong_options
from fleet.pki.init_texts import DEVICE_TOML, FEDERATION_TOML, REGISTRAR_TOML
from fleet.pki.keys import make_key, public_key
from fleet.pki.mosquitto import address_for, conf_text
from fleet.pki.publication import publish
from fleet.pki.register import Register
from fleet.pki.settings import RegistrarSettings
from fleet.pki.signing_key import make_signing_key

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
"""Further names in the broker's certificate, for programs on the same machine."""


def found(folder: FederationFolder, founding: Founding, beside: FederationFolder | None = None) -> list[Path]:
    """Make all missing files of a federation, and write the broker's lists anew.

    Returns:
        The new files; if there are none, the access list if it has changed.

    Args:
        folder: the federation's folder; created if necessary.
        founding: name, addresses and lifetimes.
        beside: the folder of a federation whose authority and broker serve this one too.

    Raises:
        ConfigError: a name is not allowed or taken, a host, port or lifetime is invalid, or the folder
            belongs to another federation.
        StateError: something cannot be written.
    """
    identity = Identity(founding.name, role=Role.AGGREGATOR)  # checks the name
    if folder.settings.exists() and folder.federation() != identity.federation:
        raise ConfigError(
            f"{folder.root} belongs to the federation {folder.federation()!r}: choose another folder"
        )
    refuse_wrong_options(founding)
    _refuse_taken_name(founding.name, folder, beside)
    make_folders(folder, beside)
    hand_to_broker(folder)
    made = _Made()
    host = json.dumps(founding.hosts[0])
    made.file(
        folder.registrar_settings,
        REGISTRAR_TOML.format(
            host=host,
            port=founding.port,
            provisioning_port=founding.provisioning_port,
            server_days=founding.server_days,
            device_days=founding.device_days,
        ),
        SECRET,
    )
    settings = RegistrarSettings.load(folder.registrar_settings)
    made.file(folder.ca_key, make_key(), SECRET)
    if not folder.broker_ca.exists():
        authority = Authority.found(
            f"{founding.name} authority", read(folder.ca_key), founding.ca_days, utc_now()
        )
        made.file(folder.broker_ca, authority.pem, SHARED)
    made.file(folder.ca, read(folder.broker_ca), PUBLIC)
    authority = Authority.open(read(folder.ca), read(folder.ca_key))
    url = _url(settings.broker.host, settings.broker.port)
    made.file(  # before the register: a repeated run then sees that the name is its own
        folder.settings,
        FEDERATION_TOML.format(
            name=json.dumps(founding.name),
            url=json.dumps(url),
            model=founding.model,
            learning=founding.learning,
        ),
        PUBLIC,
    )
    with Register(folder.register) as register:
        with register.transaction():
            register.add_federation(founding.name)
        days = settings.certificates.server_days
        made.identity(authority, register, founding, Role.AGGREGATOR, folder.aggregator_identity, days)
        made.identity(authority, register, founding, Role.WATCH, folder.watch_identity, days)
        made.identity(authority, register, founding, Role.REGISTRAR, folder.registrar_identity, days)
        made.identity(authority, register, founding, Role.BROKER, folder.broker_identity, days)
        if not folder.signing_key.exists():
            make_signing_key(folder.signing_key)
            made.paths.append(folder.signing_key)
        made.file(folder.signing_public, make_signing_key(folder.signing_key), PUBLIC)
        made.file(
            folder.mosquitto_conf,
            conf_text(
                folder.broker,
                settings.broker.port,
                settings.broker.provisioning_port,
                address_for([settings.broker.host, *founding.hosts]),
            ),
            SHARED,
        )
        made.file(folder.device_settings, DEVICE_TOML.format(data=founding.data), PUBLIC)
        new = [path for path in made.paths if path.parent == folder.registrar]
        # On an installed server they belong to another user, who must read them.
        give_to_owner(folder.registrar, *new)
        before = read(folder.acl) if folder.acl.exists() else None
        publish(folder, register)  # a newer version may have topics that the list does not know
        if not made.paths and before is not None and read(folder.acl) != before:
            made.paths.append(folder.acl)
    return made.paths


class _Made:
    def __init__(self) -> None:
        self.paths: list[Path] = []

    def file(self, path: Path, data: bytes | str, mode: int) -> None:
        if create(path, data.encode() if isinstance(data, str) else data, mode=mode):
            self.paths.append(path)

    def identity(
        self, authority: Authority, register: Register, founding: Founding, role: Role, path: Path, days: int
    ) -> None:
        """A key and its certificate; the register knows it before the file is there."""
        if path.exists():
            return
        identity, key = Identity(founding.name, role=role), make_key()
        if role is Role.BROKER:
            hosts = list(dict.fromkeys((*founding.hosts, *LOCAL_HOSTS)))
            issued = authority.issue_server(identity.name, public_key(key), hosts, days, utc_now())
        else:
            issued = authority.issue_client(identity.name, public_key(key), days, utc_now())
        handed = path.parent.stat().st_mode & stat.S_ISGID  # then this file belongs to the broker's group
        with register.transaction():
            register.revoke_certificates(identity)  # for a file that was removed: others may have its key
            register.enrol(identity)
            register.add_certificate(identity, issued)
        self.file(path, key + issued.pem, SHARED if role is Role.BROKER and handed else SECRET)


def _refuse_taken_name(name: str, folder: FederationFolder, beside: FederationFolder | None) -> None:
    """Refuse a name that is taken before anything is made: its owner would lose its certificates."""
    path = (beside or folder).register
    if folder.settings.exists() or folder.aggregator_identity.exists() or not path.exists():
        return
    with Register(path) as register:
        taken = name in register.federations()
    if taken:
        its = f"{beside.root} is its folder" if beside and beside.federation() == name else "it has a folder"
        raise ConfigError(
            f"{path}: knows a federation {name!r} already, and {its}, while {folder.root} has no "
            "federation.toml: choose another name for a new one, or say with --folder where that folder is"
        )


def _url(host: str, port: int) -> str:
    return f"mqtts://[{host}]:{port}" if ":" in host else f"mqtts://{host}:{port}"
