"""`[state]` of `agent.toml`."""

from pathlib import Path

from fedge.service.settings import LocalPath, Section


class StateSettings(Section):
    """`[state]`: what must survive a restart."""

    folder: LocalPath = Path("state")
    """The folder for the saved update and the newest model; one for each agent."""
