"""`fedge-agent forget-rounds`: let a device follow rounds again after it has seen a forged, too high number.

No message can do this: an attacker could make devices forget, and then replay old models to them.
"""

from agent.config import AgentSettings
from agent.core.device import NEVER
from agent.shell.memory_layout import FILE
from agent.shell.stopped import memory_of_a_stopped_agent


def forget_rounds(settings: AgentSettings) -> str:
    """Forget the newest round seen and the saved update; return what was done, in words.

    Identity, keys, the model file, boot ids and the day's bytes stay. A second call changes nothing.

    Raises:
        Conflict: an agent works with this state folder.
        StateError: the memory cannot be read or written; nothing was forgotten.
    """
    folder = settings.state.folder
    path = folder / FILE
    if not path.is_file():
        return f"{path}: is not there: this device has seen no round, so there is nothing to forget"
    with memory_of_a_stopped_agent(folder) as memory:
        seen, saved = memory.seen(), memory.saved()
        memory.forget_rounds()
    return _told(
        None if seen == NEVER else f"that round {seen.round} was seen",
        None if saved is None else f"the update saved for round {saved.round}",
    )


def _told(*forgotten: str | None) -> str:
    what = " and ".join(text for text in forgotten if text is not None)
    if not what:
        return "this device has seen no round, so there is nothing to forget"
    return f"forgotten: {what}. When the agent is started, it follows the next round that is announced"
