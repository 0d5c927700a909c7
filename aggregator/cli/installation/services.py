"""The services of a federation: how they start, and whether they run."""

from pathlib import Path

from aggregator.cli.installation.broker import is_broker_ours
from aggregator.cli.installation.templates import AGGREGATOR, RELOAD, RENEWAL, TEMPLATES, unit_of
from fedge.deployment import units
from fedge.deployment.machine import say


def start(folder: Path | None, *, again: bool) -> None:
    """Start a federation's services, if one is given; `again`: restart all services that run."""
    wanted: list[str] = []
    if folder is not None:
        if again or not is_broker_ours():
            say("start mosquitto")
            units.systemctl("enable", "--quiet", "mosquitto.service")
            units.systemctl("restart", "mosquitto.service")
        units.systemctl("enable", "--quiet", "--now", RELOAD)
        wanted.append(unit_of(AGGREGATOR, folder.name))
        if not (folder / "registrar").is_symlink():
            wanted.append(f"fedge-registrar@{folder.name}.service")
        units.systemctl("enable", "--quiet", *wanted)
    running = [unit for template in TEMPLATES for unit in units.instances(template)]
    for each in dict.fromkeys([*wanted, *running] if again else wanted):
        say(f"start {each}")
        units.systemctl("restart" if again else "start", each)
    for unit in units.instances(AGGREGATOR):  # of all federations: an older version had no timer
        name = unit.removeprefix("fedge-aggregator@").removesuffix(".service")
        units.systemctl("enable", "--quiet", "--now", unit_of(RENEWAL, name))


def is_running(template: str) -> bool:
    """Whether a unit of this template runs, for any federation."""
    return bool(units.instances(template))


def is_enabled(folder: Path) -> bool:
    """Whether the aggregator of the federation in this folder starts with the machine."""
    return units.is_enabled(unit_of(AGGREGATOR, folder.name))
