"""`fedge init`: make a federation's folder. What is there stays, so a run that was cut short goes on.

So a key of the server that others have seen is replaced by removing its file and running this again: the
certificate before counts no more.
"""

import grp
import json
import os
import pwd
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fedge.errors import ConfigError, StateError
from fedge.files import create, give, hand_over, permit, point
from fedge.store.atomic_files import give_to_owner, make_folder
from fleet.identities.authority import Authority, make_key, public_key, utc_now
from fleet.identities.folder import PUBLIC, SECRET, SHARED, FederationFolder, read
from fleet.identities.identity import Identity, Role
from fleet.identities.mosquitto import address_for, conf_text
from fleet.identities.publishing import publish
from fleet.identities.register import Register
from fleet.identities.settings import RegistrarSettings, check_host
from fleet.identities.signing import make_signing_key

BROKER_GROUP = "mosquitto"
"""The group that a packaged Mosquitto runs as; as root, what it reads is handed to it."""
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
"""Under these the broker's certificate is good too, for what runs beside it."""
SERVICE = (Role.AGGREGATOR, Role.WATCH, Role.REGISTRAR)
CA_DAYS, MOST_CA_DAYS = 20 * 365, 100 * 365

EXAMPLE_MODEL = """\
# What is learnt: put your own columns and classes here; these are of the example with three pumps.
[model]
features = ["vibration_mm_s", "temperature_c", "current_a", "noise_db"]
classes = ["normal", "cavitation", "bearing"]
# for a regression instead of classes:  targets = ["remaining_hours"]
layers = [{ type = "dense", units = 16 }, { type = "relu" }]    # the output layer is added
"""
EXAMPLE_DATA = """\
[data]
source = "csv"        # or "npz", or "python" with callable = "module:function"
path = "data.csv"     # one file, or a folder of them; it may grow while the agent runs
label = "state"       # the column that names each row's class
holdout = 0.2         # the last part by time is kept to measure the model, and never trained on
"""
EXAMPLE_LEARNING = """\
[plan]                # what each chosen device does in a round
epochs = 5
batch_size = 16       # 0: all samples at once; with epochs = 1 that is FedSGD
learning_rate = 0.1

[rounds]
fraction = 1.0        # C: the part of the fleet that is chosen for each round
quorum = 3            # below this many updates a round stays open
deadline_s = 60       # stragglers are waited for this long

[stopping]            # whichever comes first
rounds = 20
patience = 5          # rounds without a better loss on the devices' held-out parts

"""
_FEDERATION = """\
# What is learnt, how rounds run, when to stop. The aggregator reads this; `--check` says what it understood.

[federation]
name = {name}
seed = 1              # the same seed and the same devices give the same model, bit for bit

[broker]
url = {url}
ca = "ca.pem"
certificate = "aggregator/identity.pem"    # key and certificate in one file
key = "aggregator/identity.pem"

[watch]               # who looks around first whether another aggregator is at work
certificate = "aggregator/watch.pem"
key = "aggregator/watch.pem"

[signing]             # devices take only models that are signed with this key
key = "aggregator/signing.key"

{model}
{learning}[state]
folder = "state"      # the ledger: back it up

[export]
folder = "export"     # model.onnx, model.safetensors, manifest.json after every round
choose = "best"       # of the models that were measured; or "newest"; the other one lies beside it
"""
_DEVICE = """\
# What every device's agent.toml says besides who it is: edit it before `fedge enroll`, or on the device.
# `fedge-agent --config agent.toml --check` reads the data and connects to nothing.

{data}
[state]
folder = "state"      # the saved update and the newest model
"""
_REGISTRAR = """\
# Where devices find the broker, and how long certificates last, for `fedge enroll` and `fedge registrar`.

[broker]
host = {host}
port = {port}
provisioning_port = {provisioning_port}

[certificates]        # in days
server_days = {server_days}
device_days = {device_days}
"""


@dataclass(frozen=True)
class Founding:
    """What `fedge init` is told."""

    name: str
    hosts: Sequence[str]
    """Names and addresses of the broker; devices use the first. It listens on this machine only where all of
    them are this machine's own, as `localhost` is."""
    port: int = 8883
    provisioning_port: int = 8884
    ca_days: int = CA_DAYS
    server_days: int = 730
    device_days: int = 365
    model: str = EXAMPLE_MODEL
    """`[model]` of `federation.toml`, as text."""
    learning: str = EXAMPLE_LEARNING
    """`[plan]`, `[rounds]` and `[stopping]`, as text, each with an empty line behind it."""
    data: str = EXAMPLE_DATA
    """`[data]` of the devices' `agent.toml`, as text."""


def found(folder: FederationFolder, founding: Founding, beside: FederationFolder | None = None) -> list[Path]:
    """Make all files of a federation that are not there yet, and write the broker's lists anew.

    Returns:
        What was made; where nothing had to be, the access list if it is another one now.

    Args:
        folder: where; made if need be.
        founding: name, addresses and lifetimes.
        beside: the folder of a federation whose authority and broker serve this one too.

    Raises:
        ConfigError: a name is not allowed or taken, a host, port or lifetime cannot be, or the folder is
            another federation's.
        StateError: something cannot be written.
    """
    identity = Identity(founding.name, role=Role.AGGREGATOR)  # checks the name
    if folder.settings.exists() and folder.federation() != identity.federation:
        raise ConfigError(
            f"{folder.root} belongs to the federation {folder.federation()!r}: choose another folder"
        )
    _refuse_wrong_options(founding)
    _refuse_taken_name(founding.name, folder, beside)
    _make_folders(folder, beside)
    hand_to_broker(folder)
    made = _Made()
    host = json.dumps(founding.hosts[0])
    made.file(
        folder.registrar_settings,
        _REGISTRAR.format(
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
    made.file(  # before the register: a run that was cut short finds here that the name is its own
        folder.settings,
        _FEDERATION.format(
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
        made.file(folder.device_settings, _DEVICE.format(data=founding.data), PUBLIC)
        new = [path for path in made.paths if path.parent == folder.registrar]
        give_to_owner(folder.registrar, *new)  # installed, it is another user's, who has to read them
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
        handed = path.parent.stat().st_mode & stat.S_ISGID  # so this file belongs to the broker's group
        with register.transaction():
            register.revoke_certificates(
                identity
            )  # of a file that was taken away: its key may be in wrong hands
            register.enrol(identity)
            register.add_certificate(identity, issued)
        self.file(path, key + issued.pem, SHARED if role is Role.BROKER and handed else SECRET)


def hand_to_broker(folder: FederationFolder) -> None:
    """As root: let Mosquitto's group read `broker/`, now and later, and its user write `broker/data/`.

    Only then has the broker's own key a second reader, because Mosquitto reads it as its user, not as root.

    Raises:
        StateError: it cannot be done.
    """
    if os.geteuid() != 0:
        return
    with suppress(KeyError):  # Mosquitto is not installed, or runs elsewhere as somebody else
        group = grp.getgrnam(BROKER_GROUP).gr_gid
        try:
            hand_over(folder.broker, -1, group, mode=0o2750)  # files made in it later belong to its group
            with suppress(FileNotFoundError):  # made later
                permit(folder.broker_identity, SHARED)
            give(folder.broker_data, pwd.getpwnam(BROKER_GROUP).pw_uid, group)
        except OSError as error:
            raise StateError(
                f"{folder.broker}: cannot be handed to {BROKER_GROUP}: {error.strerror}"
            ) from None
        except LookupError as error:
            raise StateError(f"{folder.broker}: cannot be handed to {BROKER_GROUP}: {error}") from None


def _refuse_wrong_options(founding: Founding) -> None:
    """Before anything is made: as nothing is overwritten, what is wrong in `registrar.toml` would stay."""
    for host in founding.hosts:
        try:
            check_host(host)
        except ValueError as error:
            raise ConfigError(f"--host {host!r}: {error}") from None
    if not 1 <= founding.ca_days <= MOST_CA_DAYS:
        raise ConfigError(f"--ca-days {founding.ca_days}: expected 1 to {MOST_CA_DAYS}")
    ports = {"port": founding.port, "provisioning_port": founding.provisioning_port}
    days = {"server_days": founding.server_days, "device_days": founding.device_days}
    try:
        RegistrarSettings.model_validate(
            {"broker": {"host": founding.hosts[0], **ports}, "certificates": days}
        )
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        option = str(detail["loc"][-1]).replace("_", "-")
        message = detail["msg"].removeprefix("Value error, ")
        raise ConfigError(f"--{option} {detail['input']}: {message}") from None


def _refuse_taken_name(name: str, folder: FederationFolder, beside: FederationFolder | None) -> None:
    """Before anything is made: whose name it is already would lose the certificates it works with."""
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


def _make_folders(folder: FederationFolder, beside: FederationFolder | None) -> None:
    make_folder(folder.root, mode=0o755)
    make_folder(folder.aggregator)
    make_folder(folder.devices)
    if beside is None:
        make_folder(folder.registrar)
        make_folder(folder.broker, mode=0o750)
        make_folder(folder.broker_data)
        return
    beside.federation()  # says so if it is none
    for link, target in ((folder.registrar, beside.registrar), (folder.broker, beside.broker)):
        if link.exists() and not link.samefile(target):
            raise ConfigError(f"{link}: is there already and is not that of {beside.root}")
        if not link.is_symlink():
            try:
                point(link, Path(os.path.relpath(target.resolve(), folder.root.resolve())))
            except OSError as error:
                raise StateError(f"{link}: cannot be made: {error.strerror}") from error


def _url(host: str, port: int) -> str:
    return f"mqtts://[{host}]:{port}" if ":" in host else f"mqtts://{host}:{port}"
