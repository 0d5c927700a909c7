"""Whether devices elsewhere reach the broker that `fedge init` has configured."""

from contextlib import suppress
from typing import TYPE_CHECKING

from fedge.errors import StateError

if TYPE_CHECKING:
    from fleet.pki.folder import FederationFolder


def is_here_only(folder: "FederationFolder") -> bool:
    """Whether the broker listens on this machine alone, as far as its configuration says."""
    from fleet.pki.folder import read
    from fleet.pki.mosquitto import listens_here_only

    with suppress(StateError):  # there may be another broker, with another configuration
        return listens_here_only(read(folder.mosquitto_conf).decode(errors="replace"))
    return False


def unreached(folder: "FederationFolder") -> str:
    """What is left to do before devices elsewhere reach a broker that was founded for this machine alone."""
    return (
        "the broker listens on this machine only: for devices elsewhere take the address out of the lines "
        f"`listener` of {folder.mosquitto_conf} and start it again"
    )
