"""`fedge-agent install` and `uninstall`: the agent as a service of systemd.

All imports are at the top, because the environment of this program may be removed before it ends.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

from agent.cli.installation.configuration import (
    CONFIGURATIONS,
    check,
    configure,
    installed_federations,
    join,
    refuse_another,
)
from agent.cli.installation.source import Claim, Source, identity_of, read_source
from fedge.deployment import units
from fedge.deployment.changeover import change_over
from fedge.deployment.machine import remove_if_empty, require_root, say
from fedge.deployment.program import AGENT
from fedge.errors import ConfigError
from fedge.identity import bundle
from fedge.wire.topics import FEDERATION

UNITS = ("fedge-agent@.service", "fedge-renew@.service", "fedge-renew@.timer")


def run_install(options: argparse.Namespace) -> int:
    """`fedge-agent install`, with the options of `agent.cli.commands`."""
    from fedge.identity.token import PREFIX, Token

    source: Source = Path(options.source)
    if options.source == "-" or options.source.startswith(PREFIX):
        if options.device is None:
            options.misused("--device ID: is missing: with a token, give this device's name")
        text = sys.stdin.read() if options.source == "-" else options.source
        source = Claim(Token.read(text).federation, options.device, text)
    install(source, options.wheel, system_site_packages=options.system_site_packages)
    return 0


def run_uninstall(options: argparse.Namespace) -> int:
    """`fedge-agent uninstall`."""
    uninstall(options.name, purge=options.purge)
    return 0


def install(source: Source, wheel: Path | None, *, system_site_packages: bool = False) -> None:
    """Install or upgrade program, configuration and units, then start. If that fails, go back.

    If the program is new, running agents are restarted. They continue with what they have saved, and repeat
    an interrupted training, so a round in progress loses nothing.

    Args:
        source: a bundle, a folder with the same files, or a claim. With a claim the key is made here.
        wheel: the version to install; None: the running one.
        system_site_packages: let the environment see the system's packages.

    Raises:
        ConfigError: the bundle is invalid, its configuration is wrong, or another device is installed there.
        DeploymentError: a step failed. The old installation still works.
    """
    files: dict[str, bytes] = {}
    if isinstance(source, Path):
        files = read_source(source)
        name, device = identity_of(files[bundle.AGENT], source)
    else:
        name, device = source.federation, source.device
    require_root("fedge-agent install")
    folder = CONFIGURATIONS / name
    refuse_another(folder, name, device)
    with AGENT.next(wheel, system_site_packages=system_site_packages) as environment:
        changed = configure(folder, files) if isinstance(source, Path) else join(environment, folder, source)
        check(environment, folder)
        changed |= units.place_units(UNITS)
        change_over(AGENT, environment, lambda again: _start(name, again=again), changed=changed)
    AGENT.tidy()
    say(f"fedge-agent@{name} is running; its log: journalctl -u fedge-agent@{name}")


def _start(name: str, *, again: bool) -> None:
    unit = f"fedge-agent@{name}.service"
    units.systemctl("enable", "--quiet", unit)
    running = set(units.instances("fedge-agent@.service"))
    for each in sorted(running | {unit}) if again else [unit]:
        say(f"start {each}")
        units.systemctl("restart" if again else "start", each)
    if (CONFIGURATIONS / name / bundle.RENEWAL).exists():
        units.systemctl("enable", "--quiet", "--now", f"fedge-renew@{name}.timer")


def uninstall(name: str, *, purge: bool) -> None:
    """Remove the service, and the program if no other service needs it.

    Args:
        name: the federation's name.
        purge: whether to remove what cannot be restored: the configuration with its key, and the state.

    Raises:
        ConfigError: there is no such agent.
        DeploymentError: a step failed.
    """
    require_root("fedge-agent uninstall")
    folder = CONFIGURATIONS / name
    if re.fullmatch(FEDERATION, name) is None or not folder.is_dir():
        known = ", ".join(installed_federations()) or "none"
        raise ConfigError(f"{name}: there is no agent of this federation here; there is: {known}")
    say(f"stop fedge-agent@{name}")
    units.retire(f"fedge-renew@{name}.timer", "state")
    units.forget_failure(f"fedge-renew@{name}.service")
    units.retire(f"fedge-agent@{name}.service", "runtime", *(["state"] if purge else []))
    if purge:
        say(f"remove {folder} and /var/lib/fedge-agent/{name}")
        shutil.rmtree(folder)
    else:
        say(f"{folder} and /var/lib/fedge-agent/{name} stay")
    if any(units.is_enabled(f"fedge-agent@{other}.service") for other in installed_federations()):
        return
    say(f"remove the program and its units: no other federation needs {AGENT.link}")
    units.remove_units(UNITS)
    units.remove_state_folder("fedge-agent")
    remove_if_empty(CONFIGURATIONS, CONFIGURATIONS.parent)
    AGENT.remove()
