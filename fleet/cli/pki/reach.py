"""Find out whether other machines can reach the broker that `fedge init` configured."""

from contextlib import suppress
from typing import TYPE_CHECKING

from fedge.errors import StateError

if TYPE_CHECKING:
    from fleet.pki.folder import FederationFolder


def is_here_only(folder: "FederationFolder") -> bool:
    """Whether the broker's configuration lets it listen on this machine only."""
    from fleet.pki.folder import read
    from fleet.pki.mosquitto import listens_here_only

    with suppress(StateError):  # the federation may use another broker with its own configuration
        return listens_here_only(read(folder.mosquitto_conf).decode(errors="replace"))
    return False


def unreached(folder: "FederationFolder") -> str:
    """Say what to change so that other machines reach a broker that was configured for this machine only."""
    return (
        "the broker listens on this machine only: for devices elsewhere remove the address from the lines "
        f"`listener` of {folder.mosquitto_conf} and restart it"
    )
