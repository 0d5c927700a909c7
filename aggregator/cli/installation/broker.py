"""Mosquitto: have it run with a federation's configuration and this version's access lists."""

from pathlib import Path

from aggregator.cli.installation.folder import FEDERATIONS
from aggregator.cli.installation.templates import REGISTRY
from fedge.deployment import units
from fedge.deployment.machine import run, say
from fedge.errors import ConfigError, DeploymentError
from fedge.storage.files import point

BROKER = Path("/etc/fedge/broker")
"""A link to the `broker/` of the federation whose configuration Mosquitto runs with."""


def point_broker(folder: Path, link: Path = BROKER) -> None:
    """Have Mosquitto run with this federation's configuration.

    Raises:
        ConfigError: Mosquitto runs with another federation's.
    """
    broker = (folder / "broker").resolve()
    if link.is_symlink() and link.exists() and link.resolve() != broker:
        other = link.resolve().parent
        raise ConfigError(
            f"Mosquitto on this machine serves {other} already; to share it, make the second federation with "
            f"fedge init {folder.name} --beside {other} --folder {folder}"
        )
    if not link.exists():
        point(link, broker)


def tell_brokers(environment: Path, folder: Path | None) -> None:
    """Write this version's access lists before any of its programs starts, because it may have new topics.

    Raises:
        DeploymentError: an access list cannot be written.
    """
    prefix, _, suffix = REGISTRY.partition("@")
    names = [unit[len(prefix) + 1 : -len(suffix)] for unit in units.instances(REGISTRY)]
    given = [] if folder is None else [folder]
    for each in dict.fromkeys([*given, *(FEDERATIONS / name for name in names)]):
        say(f"write the access list of {each.name}")
        run([environment / "bin/fedge", "init", each.name, "--folder", each])


def is_broker_ours() -> bool:
    """Whether Mosquitto runs, and with our configuration."""
    try:
        pid = units.systemctl("show", "--value", "--property=MainPID", "mosquitto.service")
        return str(BROKER).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, DeploymentError):
        return False
