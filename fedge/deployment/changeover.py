"""Replaces the environment of an installed program by another one, or keeps the old one if that fails."""

from collections.abc import Callable
from pathlib import Path

from fedge.deployment.machine import say
from fedge.deployment.program import Program
from fedge.errors import DeploymentError


def change_over(
    program: Program,
    environment: Path,
    start: Callable[[bool], None],
    *,
    changed: bool,
    prepare: Callable[[], None] = lambda: None,
) -> None:
    """Put an environment into use and start its services; go back to the old one if they do not start.

    Args:
        program: the program of the environment.
        environment: the environment to use from now on. It may be the one in use.
        start: starts the services; with True it also restarts those that are running.
        changed: whether something else has changed that needs a restart.
        prepare: called before the services start.

    Raises:
        DeploymentError: the services do not start. The old environment is in use again.
    """
    before = program.current
    if environment != before:
        say(f"put {environment} into use")
        program.switch(environment)
    try:
        prepare()
        start(changed or environment != before)
    except DeploymentError:
        if before is not None and environment != before:
            say(f"the new environment does not start: going back to {before}")
            program.switch(before)
            start(True)
        raise
