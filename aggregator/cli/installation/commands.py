"""`fedge-aggregator install` and `uninstall`: a federation's server, beside Mosquitto, as services.

All imports are at the top, because `uninstall` may remove this program's own environment.
"""

import argparse
import re
import shutil
from pathlib import Path
from typing import TypeVar

from aggregator.cli.installation.broker import BROKER, point_broker, tell_brokers
from aggregator.cli.installation.folder import FEDERATIONS, folders, look_up, take_in
from aggregator.cli.installation.ownership import give_back, hand_over
from aggregator.cli.installation.services import is_enabled, is_running, start
from aggregator.cli.installation.templates import AGGREGATOR, RELOAD, RENEWAL, TEMPLATES, UNITS, unit_of
from fedge.deployment import units
from fedge.deployment.changeover import change_over
from fedge.deployment.machine import find, need_package, remove_if_empty, require_root, run, say
from fedge.deployment.program import SERVER
from fedge.errors import ConfigError
from fedge.wire.topics import FEDERATION

QUARANTINE = Path("/usr/local/sbin/quarantine-db")
P = TypeVar("P", bound=argparse.ArgumentParser)


def add_to(commands: "argparse._SubParsersAction[P]") -> None:
    """Add the two commands to the program's."""
    install_parser = commands.add_parser("install", help="install or upgrade the services; needs root")
    install_parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        metavar="FOLDER",
        help="the folder that `fedge init` made, or the name of an installed federation; default: install or "
        "upgrade the programs only",
    )
    install_parser.add_argument(
        "--wheel", type=Path, metavar="FILE", help="the version to install; default: the running one"
    )
    install_parser.set_defaults(run=_run_install)
    uninstall_parser = commands.add_parser(
        "uninstall", help="remove the services and keep the data; needs root"
    )
    uninstall_parser.add_argument("name", metavar="FEDERATION", help="the name of the federation")
    uninstall_parser.add_argument("--purge", action="store_true", help="remove its folder and its state too")
    uninstall_parser.set_defaults(run=_run_uninstall)


def _run_install(options: argparse.Namespace) -> int:
    install(options.folder, options.wheel)
    return 0


def _run_uninstall(options: argparse.Namespace) -> int:
    uninstall(options.name, purge=options.purge)
    return 0


def install(source: Path | None, wheel: Path | None) -> None:
    """Install or upgrade Mosquitto, programs, folder and units; then start them, and undo this if it fails.

    Args:
        source: the folder of `fedge init`, moved to /etc/fedge/federations if it is elsewhere; or the name of
            an installed one. None: install or upgrade the programs only.
        wheel: the version to install; None: the running one.

    Raises:
        ConfigError: the folder is not a federation's or is incomplete, or its configuration is wrong.
        DeploymentError: a step failed. The old installation still works.
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
        if folder is not None or any(map(is_running, TEMPLATES)):
            changed |= units.place_units(UNITS)
        change_over(
            SERVER,
            environment,
            lambda again: start(folder, again=again),
            changed=changed,
            prepare=lambda: tell_brokers(environment, folder),
        )
    SERVER.tidy()
    if folder is None:
        say("next: fedge init NAME --host BROKER, then fedge-aggregator install NAME")
    else:
        say(f"{folder.name} is running; its log: journalctl -u fedge-aggregator@{folder.name}")


def uninstall(name: str, *, purge: bool) -> None:
    """Remove a federation's services, and with those of the last federation also the programs and units.

    Without `purge` the data stay: the folder with its keys, and the ledger. Mosquitto stays installed, and
    runs with its own configuration again.

    Raises:
        ConfigError: there is no such federation, or others share its authority and broker.
        DeploymentError: a step failed.
    """
    require_root("fedge-aggregator uninstall")
    folder = FEDERATIONS / name
    if re.fullmatch(FEDERATION, name) is None or not folder.is_dir():
        known = ", ".join(path.name for path in folders()) or "none"
        raise ConfigError(f"{name}: no federation of this name is installed here; installed: {known}")
    others = [path for path in folders() if path != folder and is_enabled(path)]
    beside = [path.name for path in others if (path / "broker").resolve().parent == folder.resolve()]
    if beside:
        raise ConfigError(
            f"{name}: its authority and broker serve {', '.join(beside)} too; uninstall that first"
        )
    say(f"stop {name}")
    if units.is_enabled(unit_of(RENEWAL, name)):
        units.retire(unit_of(RENEWAL, name), "state")
    units.forget_failure(unit_of("fedge-renew-server@.service", name))
    for template in TEMPLATES:
        what = ["runtime", *(["state"] if purge and template == AGGREGATOR else [])]
        units.retire(unit_of(template, name), *what)
    is_broker = BROKER.exists() and BROKER.resolve() == folder.resolve() / "broker"
    if is_broker:
        say("restart Mosquitto with its own configuration")
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
    give_back(folders())
    units.remove_state_folder("fedge-aggregator")
    remove_if_empty(FEDERATIONS, FEDERATIONS.parent)
    SERVER.remove()
