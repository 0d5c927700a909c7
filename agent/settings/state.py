"""`[state]` of `agent.toml`."""

from pathlib import Path

from fedge.service.settings import LocalPath, Section


class StateSettings(Section):
    """`[state]`: where the agent keeps what must survive a restart."""

    folder: LocalPath = Path("state")
    """The folder for the saved update and the newest model. Each agent needs its own."""
