"""The broker's configuration: the project's own `mosquitto.conf`, with full paths and our ports."""

import ipaddress
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from fedge.errors import ConfigError

_PATHS = re.compile(r"(?m)^(?P<key>[a-z_]+) broker/")
_LISTENER = re.compile(r"(?m)^listener +\d+ *(\S*)")
_DEFAULT_PORT, _DEFAULT_PROVISIONING_PORT = 8883, 8884
_EVERYWHERE = "# On every interface, because devices come from other machines.\n"
_HERE = """\
# On this machine only, because no name was given by which other machines reach it. For devices elsewhere
# remove the address, here and below, and restart the broker; `fedge renew --host NAME` adds such a name to
# its certificate.
"""


def production_text() -> str:
    """The top-level `mosquitto.conf` as it was written: its paths are relative to the federation's folder.

    Raises:
        ConfigError: this installation lacks it.
    """
    packaged = resources.files("fleet.pki").joinpath("mosquitto.conf")
    checkout = Path(__file__).parents[2] / "mosquitto.conf"
    for place in (packaged, checkout):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise ConfigError("this installation lacks its mosquitto.conf: install Fedge again")


def address_for(hosts: Iterable[str]) -> str | None:
    """The one address that a broker with these names listens on; None: all addresses.

    If all its names are this machine's own, other machines need not reach it.
    """
    local = [_loopback(host) for host in hosts]
    return local[0] if local and None not in local else None


def conf_text(broker: Path, port: int, provisioning_port: int, address: str | None = None) -> str:
    """The configuration for the folder `broker`, wherever Mosquitto is started.

    Args:
        broker: that folder.
        port: the listener for clients with a certificate.
        provisioning_port: the listener for clients that ask for one.
        address: the address to listen on; None: every interface.
    """
    full = broker.resolve()
    text = _PATHS.sub(lambda match: f"{match['key']} {full}/", production_text())
    ports = {_DEFAULT_PORT: port, _DEFAULT_PROVISIONING_PORT: provisioning_port}
    at = "" if address is None else f" {address}"
    text = re.sub(r"(?m)^listener (\d+)", lambda match: f"listener {ports[int(match[1])]}{at}", text)
    return text if address is None else text.replace(_EVERYWHERE, _HERE)


def listens_here_only(text: str) -> bool:
    """Whether a broker with this configuration can only be reached from its own machine."""
    found = _LISTENER.findall(text)
    return bool(found) and all(_loopback(address) for address in found)


def _loopback(host: str) -> str | None:
    """The loopback address of a host name; None: other machines may reach it by that name."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return host if ipaddress.ip_address(host).is_loopback else None
    except ValueError:
        return None
