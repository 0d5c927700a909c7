"""Where the ledger lies that a command is about: where the program that serves has it."""

import os
from collections.abc import Mapping
from pathlib import Path

from aggregator.config import FederationSettings
from aggregator.installation import FEDERATIONS

STATES = Path("/var/lib/fedge-aggregator")
"""The parent of the folders that systemd makes for the services (StateDirectory)."""


def load(config: Path, environment: Mapping[str, str] = os.environ) -> FederationSettings:
    """The configuration; that of an installed federation with the state folder of its service.

    Its unit sets that folder by a variable, which who types a command does not have.

    Raises:
        ConfigError: it cannot be read, or a value is wrong.
    """
    variable, folder = "FEDGE_AGGREGATOR_STATE__FOLDER", config.absolute().parent
    if folder.parent == FEDERATIONS and not environment.get(variable):
        environment = {**environment, variable: str(STATES / folder.name)}
    return FederationSettings.load(config, environment)
