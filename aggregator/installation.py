"""`fedge-aggregator install` and `uninstall`: a federation's server, beside Mosquitto, as services.

All that this needs is loaded at its beginning: in the end the environment that it came from may be removed.
"""

import argparse
import grp
import os
import pwd
import re
import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from fedge import files
from fedge.deployment import units
from fedge.deployment.machine import find, need_package, require_root, run, say
from fedge.deployment.program import SERVER
from fedge.errors import ConfigError, DeploymentError
from fedge.files import give, permit, point, read_file
from fedge.store.atomic_files import make_folder
from fedge.topics import FEDERATION

FEDERATIONS = Path("/etc/fedge/federations")
BROKER = Path("/etc/fedge/broker")
"""A link to the `broker/` of the federation whose configuration Mosquitto runs with."""
QUARANTINE = Path("/usr/local/sbin/quarantine-db")
REGISTRAR = "fedge-registrar"
"""The user who alone reads the authority's key."""
AGGREGATOR = "fedge-aggregator@.service"
REGISTRY = "fedge-registrar@.service"
TEMPLATES = (AGGREGATOR, REGISTRY)
RENEWAL = "fedge-renew-server@.timer"
RELOAD = "fedge-broker-reload.path"
UNITS = (
    *TEMPLATES,
    "fedge-renew-server@.service",
    RENEWAL,
    RELOAD,
    "fedge-broker-reload.service",
    "mosquitto.service.d/fedge.conf",
)
FILES = (
    "federation.toml",
    "device.toml",
    "ca.pem",
    "aggregator/identity.pem",
    "aggregator/watch.pem",
    "aggregator/signing.key",
    "aggregator/signing.pub",
    "registrar/registrar.toml",
    "registrar/registrar.db",
    "registrar/ca.key",
    "registrar/identity.pem",
    "broker/mosquitto.conf",
    "broker/ca.pem",
    "broker/identity.pem",
    "broker/acl",
    "broker/passwords",
    "broker/crl.pem",
)
"""What `fedge init` makes: where one of them is missing, it was cut short."""
P = TypeVar("P", bound=argparse.ArgumentParser)


def add_to(commands: "argparse._SubParsersAction[P]") -> None:
    """Add the two commands to the program's."""
    install_parser = commands.add_parser("install", help="install or upgrade as services (root)")
    install_parser.add_argument(
        "folder", type=Path, nargs="?", metavar="FOLDER", help="of `fedge init`; without it only the programs"
    )
    install_parser.add_argument(
        "--wheel", type=Path, metavar="FILE", help="the version to install; default: the one that runs this"
    )
    install_parser.set_defaults(run=_run_install)
    uninstall_parser = commands.add_parser("uninstall", help="remove the services; data stays (root)")
    uninstall_parser.add_argument("name", metavar="FEDERATION")
    uninstall_parser.add_argument("--purge", action="store_true", help="remove its folder and state too")
    uninstall_parser.set_defaults(run=_run_uninstall)


def _run_install(options: argparse.Namespace) -> int:
    install(options.folder, options.wheel)
    return 0


def _run_uninstall(options: argparse.Namespace) -> int:
    uninstall(options.name, purge=options.purge)
    return 0


def install(source: Path | None, wheel: Path | None) -> None:
    """Install or upgrade: Mosquitto, programs, folder, units; then start, and go back if it does not.

    Args:
        source: the folder of `fedge init`, moved to /etc/fedge/federations if it is elsewhere; or the name of
            one that is there. None: install or upgrade the programs only.
        wheel: the version to install; None: the one that runs this.

    Raises:
        ConfigError: it is no federation's folder or not a whole one, or its configuration is wrong.
        DeploymentError: a step failed. What was at work before still is.
    """
    require_root("fedge-aggregator install")
    if source is not None:
        source = look_up(source)
    if find("mosquitto") is None:
        need_package("mosquitto")
    with SERVER.next(wheel) as environment:
        folder = None if source is None else take_in(source)
        if folder is not None:
            run([environment / "bin/fedge-aggregator", "--config", folder / "federation.toml", "--check"])
            hand_over(folder)
            point_broker(folder)
        changed = units.place(QUARANTINE, units.shipped("mosquitto/quarantine-db"), 0o755)
        if folder is not None or any(map(_is_running, TEMPLATES)):
            changed |= units.place_units(UNITS)
        before = SERVER.current
        if environment != before:
            say(f"put {environment} into use")
            SERVER.switch(environment)
        again = changed or environment != before
        try:
            tell_brokers(environment, folder)
            _start(folder, again=again)
        except DeploymentError:
            if before is not None and environment != before:
                say(f"it does not start: go back to {before}")
                SERVER.switch(before)
                _start(folder, again=True)
            raise
    SERVER.tidy()
    if folder is None:
        say("next: fedge init NAME --host BROKER, then fedge-aggregator install NAME")
    else:
        say(f"{folder.name} is running; its log: journalctl -u fedge-aggregator@{folder.name}")


def look_up(source: Path, federations: Path = FEDERATIONS) -> Path:
    """The folder of `fedge init` that is meant, or the installed one of this name; nothing is changed.

    Raises:
        ConfigError: it is no federation's folder, or `fedge init` was cut short in it.
    """
    folder = source
    if not source.exists() and (federations / source.name).is_dir():
        folder = federations / source.name
    name = federation_of(folder)
    if missing := [file for file in FILES if not (folder / file).exists()]:
        raise ConfigError(
            f"{folder}: {', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing, as after a "
            f"`fedge init` that was cut short: run it again, `fedge init {name} --folder {folder}` with its "
            "other options as before; it makes what is missing and changes nothing else"
        )
    return folder


def take_in(source: Path, federations: Path = FEDERATIONS) -> Path:
    """Where the federation's folder lies for good; it is moved there, so that there is one authority's key.

    Raises:
        ConfigError: it is no federation's folder, or another one is there already.
    """
    name = federation_of(source)
    folder = federations / name
    source = source.resolve()
    if source == folder.resolve():
        return folder
    if folder.exists():
        raise ConfigError(f"{folder} is there already: which of the two is it? Move {source} away, or it")
    if (source / "broker").is_symlink():
        raise ConfigError(f"{source} shares a broker: make it with fedge init {name} … --folder {folder}")
    say(f"move {source} to {folder}")
    make_folder(federations, mode=0o755)
    mask = os.umask(0o077)  # to another disk it copies, and a copy has the modes only when it is whole
    try:
        shutil.move(source, folder)
    finally:
        os.umask(mask)
    permit(folder, 0o755)
    conf = folder / "broker" / "mosquitto.conf"
    text = read_file(conf).decode().replace(f" {source}/broker", f" {folder}/broker")
    units.place(conf, text.encode(), 0o640)
    return folder


def federation_of(folder: Path) -> str:
    """The name of the federation whose folder this is.

    Raises:
        ConfigError: it is none.
    """
    settings = folder / "federation.toml"
    try:
        name = tomllib.loads(read_file(settings).decode("utf-8-sig"))["federation"]["name"]
    except OSError as error:
        raise ConfigError(
            f"{settings}: {error.strerror}; `fedge init NAME` makes a federation's folder"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{settings}: [federation] name cannot be read: {error}") from None
    if not isinstance(name, str) or re.fullmatch(FEDERATION, name) is None:
        raise ConfigError(f"{settings}: [federation] name: {name!r} is no federation's name")
    return name


def hand_over(folder: Path) -> None:
    """Give each part of the folder to the one user who needs it: registrar, broker; the rest is root's.

    Raises:
        DeploymentError: it cannot be done.
    """
    try:
        pwd.getpwnam(REGISTRAR)
    except KeyError:
        say(f"make the user {REGISTRAR}")
        run(
            [
                "useradd",
                "--system",
                "--user-group",
                "--no-create-home",
                "--shell",
                "/usr/sbin/nologin",
                REGISTRAR,
            ]
        )
    user, group = pwd.getpwnam(REGISTRAR), grp.getgrnam("mosquitto").gr_gid
    registrar, broker = folder / "registrar", folder / "broker"
    try:
        files.hand_over(registrar, user.pw_uid, user.pw_gid)
        # It writes the lists there; what it makes belongs to the broker's group.
        files.hand_over(broker, -1, group)
        files.hand_over(broker, user.pw_uid, group, all_in_it=False, mode=0o2750)
        permit(broker / "identity.pem", 0o640)  # Mosquitto reads it as its own user
        give(broker / "data", pwd.getpwnam("mosquitto").pw_uid, group)
    except OSError as error:
        raise DeploymentError(f"{folder}: cannot be handed over: {error.strerror}") from None


def point_broker(folder: Path, link: Path = BROKER) -> None:
    """Have Mosquitto run with this federation's configuration.

    Raises:
        ConfigError: it runs with another federation's.
    """
    broker = (folder / "broker").resolve()
    if link.is_symlink() and link.exists() and link.resolve() != broker:
        other = link.resolve().parent
        raise ConfigError(
            f"Mosquitto here is the broker of {other}; a second federation shares it if it is made with "
            f"fedge init {folder.name} --beside {other} --folder {folder}"
        )
    if not link.exists():
        point(link, broker)


def tell_brokers(environment: Path, folder: Path | None) -> None:
    """Write the access lists as this version has them, before anything of it speaks: it may have more topics.

    Raises:
        DeploymentError: one cannot be written.
    """
    prefix, _, suffix = REGISTRY.partition("@")
    names = [unit[len(prefix) + 1 : -len(suffix)] for unit in units.instances(REGISTRY)]
    given = [] if folder is None else [folder]
    for each in dict.fromkeys([*given, *(FEDERATIONS / name for name in names)]):
        say(f"write the access list of {each.name}")
        run([environment / "bin/fedge", "init", each.name, "--folder", each])


def _start(folder: Path | None, *, again: bool) -> None:
    wanted: list[str] = []
    if folder is not None:
        if again or not _is_broker_ours():
            say("start mosquitto")
            units.systemctl("enable", "--quiet", "mosquitto.service")
            units.systemctl("restart", "mosquitto.service")
        units.systemctl("enable", "--quiet", "--now", RELOAD)
        wanted.append(_of(AGGREGATOR, folder.name))
        if not (folder / "registrar").is_symlink():
            wanted.append(f"fedge-registrar@{folder.name}.service")
        units.systemctl("enable", "--quiet", *wanted)
    running = [unit for template in TEMPLATES for unit in units.instances(template)]
    for each in dict.fromkeys([*wanted, *running] if again else wanted):
        say(f"start {each}")
        units.systemctl("restart" if again else "start", each)
    for unit in units.instances(AGGREGATOR):  # of all: a version before may have had no timer
        name = unit.removeprefix("fedge-aggregator@").removesuffix(".service")
        units.systemctl("enable", "--quiet", "--now", _of(RENEWAL, name))


def _is_running(template: str) -> bool:
    return bool(units.instances(template))


def _is_broker_ours() -> bool:
    """Whether Mosquitto runs, and with our configuration."""
    try:
        pid = units.systemctl("show", "--value", "--property=MainPID", "mosquitto.service")
        return str(BROKER).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, DeploymentError):
        return False


def uninstall(name: str, *, purge: bool) -> None:
    """Remove the services; with the last federation programs and units too. Without `purge` its data stays.

    Data is what cannot be had again: the folder with its keys, and the ledger. Mosquitto stays, as it was.

    Raises:
        ConfigError: there is no such federation, or others share its authority and broker.
        DeploymentError: a step failed.
    """
    require_root("fedge-aggregator uninstall")
    folder = FEDERATIONS / name
    if re.fullmatch(FEDERATION, name) is None or not folder.is_dir():
        known = ", ".join(path.name for path in _folders()) or "none"
        raise ConfigError(f"{name}: there is no such federation here; there is: {known}")
    others = [path for path in _folders() if path != folder and _is_enabled(path)]
    beside = [path.name for path in others if (path / "broker").resolve().parent == folder.resolve()]
    if beside:
        raise ConfigError(
            f"{name}: its authority and broker serve {', '.join(beside)} too: uninstall that first"
        )
    say(f"stop {name}")
    if units.is_enabled(_of(RENEWAL, name)):
        units.retire(_of(RENEWAL, name), "state")
    units.forget_failure(_of("fedge-renew-server@.service", name))
    for template in TEMPLATES:
        what = ["runtime", *(["state"] if purge and template == AGGREGATOR else [])]
        units.retire(_of(template, name), *what)
    is_broker = BROKER.exists() and BROKER.resolve() == folder.resolve() / "broker"
    if is_broker:
        say("give Mosquitto its own configuration back")
        units.systemctl("disable", "--quiet", "--now", RELOAD)
        units.remove_units(["mosquitto.service.d/fedge.conf"])
        BROKER.unlink()
        units.systemctl("restart", "mosquitto.service")
    if purge:
        say(f"remove {folder} and /var/lib/fedge-aggregator/{name}")
        shutil.rmtree(folder)
    else:
        say(f"{folder} and /var/lib/fedge-aggregator/{name} stay")
    if others:
        return
    say(f"remove the programs and their units: no other federation needs {SERVER.link}")
    units.remove_units(UNITS)
    QUARANTINE.unlink(missing_ok=True)
    _give_back(_folders())
    units.remove_state_folder("fedge-aggregator")
    for empty in (FEDERATIONS, FEDERATIONS.parent):
        if empty.is_dir() and not any(empty.iterdir()):
            empty.rmdir()
    SERVER.remove()


def _give_back(folders: Iterable[Path]) -> None:
    """Make root the owner of what the registrar's user had, and remove that user.

    Raises:
        DeploymentError: it cannot be done.
    """
    for folder in folders:
        registrar = folder / "registrar"
        try:
            files.hand_over(registrar, 0, 0)
            files.hand_over(folder / "broker", 0, -1, all_in_it=False)
        except OSError as error:
            raise DeploymentError(f"{folder}: cannot be given back to root: {error.strerror}") from None
    run(["userdel", REGISTRAR])


def _folders() -> list[Path]:
    return sorted(path for path in FEDERATIONS.glob("*") if path.is_dir())


def _is_enabled(folder: Path) -> bool:
    return units.is_enabled(_of(AGGREGATOR, folder.name))


def _of(template: str, federation: str) -> str:
    """The unit of one federation."""
    return template.replace("@.", f"@{federation}.")
