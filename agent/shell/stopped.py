"""The memory of a stopped agent, for commands that change it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.shell.memory import Memory
from agent.shell.memory_layout import FILE
from fedge.errors import Conflict, DamagedState, StateError
from fedge.storage.atomic_files import give_to_owner
from fedge.storage.locks import lock


@contextmanager
def memory_of_a_stopped_agent(folder: Path) -> Iterator[Memory]:
    """Open the memory in a state folder. No agent can start with the folder meanwhile.

    Raises:
        Conflict: an agent works with this state folder.
        StateError: the memory cannot be read.
    """
    path = folder / FILE
    try:
        held = lock(folder)
    except Conflict as error:
        raise Conflict(f"{error}: stop the agent, run this command again, and start the agent") from None
    try:
        try:
            memory = Memory(path)
        except DamagedState as error:
            text = f"{error}; when the agent starts, it moves the file aside and begins with an empty memory"
            raise StateError(text) from None
        try:
            yield memory
        finally:
            memory.close()
        give_to_owner(folder, path, folder / "lock")
    finally:
        os.close(held)
