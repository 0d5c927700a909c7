"""Find the state folder that a command should use: that of the aggregator's service."""

import os
from collections.abc import Mapping
from pathlib import Path

from aggregator.cli.installation.folder import FEDERATIONS
from aggregator.config import FederationSettings
from fedge.deployment import variables

STATES = Path("/var/lib/fedge-aggregator")
"""The parent of the folders that systemd makes for the services (StateDirectory)."""
FOLDERS = {"FEDGE_AGGREGATOR_STATE__FOLDER": "", "FEDGE_AGGREGATOR_EXPORT__FOLDER": "export"}
"""The folders that the unit sets, relative to the service's folder."""


def load(config: Path, environment: Mapping[str, str] = os.environ) -> FederationSettings:
    """Load the configuration; for an installed federation, with the folders of its service.

    Raises:
        ConfigError: it cannot be read, or a value is wrong.
        StateError: the service's folder is closed to this user.
    """
    environment = variables.of_service(config, FEDERATIONS, STATES, FOLDERS, environment)
    return FederationSettings.load(config, environment)
