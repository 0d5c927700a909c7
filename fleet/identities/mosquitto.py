"""The broker's configuration: the project's own `mosquitto.conf`, with full paths and our ports."""

import re
from importlib import resources
from pathlib import Path

from fedge.errors import ConfigError

_PATHS = re.compile(r"(?m)^(?P<key>[a-z_]+) broker/")
_DEFAULT_PORT, _DEFAULT_PROVISIONING_PORT = 8883, 8884


def production_text() -> str:
    """The top-level `mosquitto.conf` as it was written: its paths are relative to the federation's folder.

    Raises:
        ConfigError: this installation lacks it.
    """
    packaged = resources.files("fleet.identities").joinpath("mosquitto.conf")
    checkout = Path(__file__).parents[2] / "mosquitto.conf"
    for place in (packaged, checkout):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise ConfigError("this installation lacks its mosquitto.conf: install Fedge again")


def conf_text(broker: Path, port: int, provisioning_port: int) -> str:
    """The configuration for the folder `broker`, wherever Mosquitto is started."""
    full = broker.resolve()
    text = _PATHS.sub(lambda match: f"{match['key']} {full}/", production_text())
    ports = {_DEFAULT_PORT: port, _DEFAULT_PROVISIONING_PORT: provisioning_port}
    return re.sub(r"(?m)^listener (\d+)", lambda match: f"listener {ports[int(match[1])]}", text)
