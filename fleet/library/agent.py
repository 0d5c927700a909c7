"""`Agent`: runs a device's agent within another program, with a function as the source of samples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.config import AgentSettings
from agent.settings.sources import DEFAULT_SOURCE
from agent.shell.loop import Loop
from agent.sources import Source, open_sources
from agent.sources.caller_sources import GivenFunction
from agent.sources.exclusions import excluding
from fedge.errors import ConfigError


class Agent:
    """The agent that `fedge-agent` runs.

    Args:
        settings: the path of an `agent.toml`, or the settings themselves.
        source: called without arguments before each round; returns (X, y) or (X, y, series), as
            `[data] source = "python"` requires, and replaces the source that `[data]` names. None: the
            source of the settings is used.

    Raises:
        ConfigError: the settings are wrong.
        Conflict: another agent works with this state folder.
        StateError: the state folder cannot be used.
    """

    def __init__(self, settings: AgentSettings | Path | str, source: Callable[[], Any] | None = None) -> None:
        if not isinstance(settings, AgentSettings | Path | str):
            raise ConfigError(f"Agent: settings is {settings!r}, expected the path of an agent.toml")
        told = settings if isinstance(settings, AgentSettings) else AgentSettings.load(Path(settings))
        sources: dict[str, Source] = dict(open_sources(told))
        if source is not None:
            if not callable(source):
                raise ConfigError(f"Agent: source is {source!r}, expected a function that returns (X, y)")
            name = f"{source.__module__}:{getattr(source, '__qualname__', type(source).__name__)}"
            newest = told.data.newest if isinstance(told.data.newest, int) else None
            given = GivenFunction(name, newest=newest, function=source)
            sources[DEFAULT_SOURCE] = excluding(given, told.data)
        self._loop = Loop(told, sources)
        self._has_run = False

    def run(self) -> None:
        """Run until `stop` or Ctrl-C. It can run only once, because it closes its files at the end.

        Raises:
            RuntimeError: it has run already.
        """
        if self._has_run:
            raise RuntimeError("this agent has ended; make another Agent of the same settings")
        self._has_run = True
        self._loop.run()

    def stop(self) -> None:
        """End `run` soon; may be called from any thread."""
        self._loop.stop()
