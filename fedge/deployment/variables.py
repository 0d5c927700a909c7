"""The folders that a unit gives its service by variables, for commands that run without the unit."""

from collections.abc import Mapping
from pathlib import Path

from fedge.errors import StateError


def of_service(
    config: Path, installed: Path, states: Path, folders: Mapping[str, str], environment: Mapping[str, str]
) -> Mapping[str, str]:
    """Return the environment, for an installed service's configuration with the folders that its unit sets.

    Args:
        config: the path of the configuration.
        installed: the parent of the installed configurations; each folder has the name of its instance.
        states: the parent of the folders that systemd makes for the services (StateDirectory).
        folders: the folders that the unit sets, by variable, relative to the service's state folder.
        environment: the environment, which takes precedence. An empty variable counts as unset.

    Raises:
        StateError: this user may not read the state folder.
    """
    said = {name: text for name, text in environment.items() if text}
    instance = config.absolute().parent
    if instance.parent != installed or folders.keys() <= said.keys():
        return environment
    state = states / instance.name
    _look_into(state)
    return {name: str(state / folder) for name, folder in folders.items()} | said


def _look_into(state: Path) -> None:
    try:
        next(state.iterdir(), None)
    except PermissionError:
        raise StateError(f"{state}: only root and the service itself may read it; use sudo") from None
    except OSError:
        pass  # the service has not run yet; other errors show when a file there is read
