"""How a device begins: with what its disk has of the time before."""

import logging
from dataclasses import dataclass
from pathlib import Path

from agent import held
from agent.config import AgentSettings
from agent.held import Held
from agent.lifecycle import Device
from agent.memory import Memory
from fedge import __version__
from fedge.errors import StateError

log = logging.getLogger("fedge.agent")

FOLLOW_S = 3_600.0


@dataclass(frozen=True)
class Opened:
    """The state to start from, and the model it speaks of."""

    state: Device
    held: Held | None


def open_device(settings: AgentSettings, memory: Memory, file: Path, boot: bytes, now_s: float) -> Opened:
    """Remember: the newest round seen, the update that may not be answered yet, the model in `file`.

    Raises:
        StateError: the memory cannot be read. A damaged model file is only said: it is fetched again.
    """
    try:
        kept = held.read(file)
    except StateError as error:
        log.warning("%s; it will be fetched again", error)
        kept = None
    state = Device(
        device=settings.device,
        boot=boot,
        version=__version__,
        follow_s=FOLLOW_S,
        own_boots=memory.add_boot(boot),
        seen=memory.seen(),
        saved=memory.saved(),
        task=kept.task_digest if kept else None,
        model=kept.model_digest if kept else None,
        kept=kept.model_digest if kept else None,
        followed_s=now_s if kept else 0.0,
    )
    return Opened(state, kept)
