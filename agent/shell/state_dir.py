"""Finds the state directory that a command should use, which is that of the agent."""

import os
from collections.abc import Mapping
from pathlib import Path

from agent.cli.installation.configuration import CONFIGURATIONS
from agent.config import AgentSettings
from fedge.deployment import variables

STATES = Path("/var/lib/fedge-agent")
"""The parent of the folders that systemd makes for the services (StateDirectory)."""
FOLDERS = {"FEDGE_AGENT_STATE__FOLDER": ""}
"""The folders that the unit sets, relative to the service's folder."""


def load(config: Path, environment: Mapping[str, str] = os.environ) -> AgentSettings:
    """The configuration; for an installed agent with the state folder of its service.

    Raises:
        ConfigError: it cannot be read, or a value is wrong.
        StateError: the service's folder is closed to this user.
    """
    environment = variables.of_service(config, CONFIGURATIONS, STATES, FOLDERS, environment)
    return AgentSettings.load(config, environment)
