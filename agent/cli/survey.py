"""`fedge-agent survey`: show what surveys report of this device; `--anew` makes the next one measure again.

No message can ask for a new measurement: whoever schedules surveys must not learn single rows.
"""

import numpy as np

from agent.config import AgentSettings
from agent.data.snapshot import NEW_ROWS, Snapshot, digest_of
from agent.shell.memory_layout import FILE
from agent.shell.memory_views import read_snapshots
from agent.shell.stopped import memory_of_a_stopped_agent
from fedge.data.moments import FEWEST
from fedge.service.escapes import printable

NOTHING = "no survey has been answered yet: the first one measures the data as they are then"


def describe(settings: AgentSettings) -> str:
    """Describe what the next survey reports. This is safe while the agent runs.

    Raises:
        StateError: the memory cannot be read.
    """
    told = read_snapshots(settings.state.folder / FILE)
    lines = [line for source, snapshot in told.items() for line in _lines(settings, source, snapshot)]
    return "\n".join(lines) if lines else NOTHING


def _lines(settings: AgentSettings, source: str, told: Snapshot) -> list[str]:
    offered = settings.offered.get(source)
    if offered is None:
        when = "this source is no longer there"
    elif told.settings != digest_of(offered):
        when = "its section of the configuration has changed, so the next survey measures it again"
    else:
        when = f"the next survey reports the same, unless {NEW_ROWS} rows are new by then"
    lines = [f"source {source}: {told.samples} rows were measured; {when}"]
    for column, count, mean, m2 in zip(
        told.columns, told.moments.count, told.moments.mean, told.moments.m2, strict=True
    ):
        spread = np.sqrt(m2 / count) if count else 0.0
        values = f"{count:.0f} values, mean {mean:.6g}, spread {spread:.6g}"
        said = values if count >= FEWEST else "reported as not measured"
        lines.append(f"  {printable(column)}: {said}")
    if told.mix is not None:
        rows = ", ".join(f"{printable(name)} ({rows} rows)" for name, rows in told.mix.rows)
        lines.append(f"  classes, rounded ([data] tell_classes): {rows or 'none'}")
    return lines


def measure_anew(settings: AgentSettings) -> str:
    """Delete the snapshots, so that the next survey measures again; return what was done, in words.

    Raises:
        Conflict: an agent works with this state folder.
        StateError: the memory cannot be read or written; nothing was deleted.
    """
    folder = settings.state.folder
    path = folder / FILE
    if not path.is_file():
        return NOTHING
    with memory_of_a_stopped_agent(folder) as memory:
        told = memory.snapshots()
        memory.forget_snapshots()
    if not told:
        return NOTHING
    return (
        f"deleted: the measurements of {', '.join(told)}; the next survey measures the data as they are then"
    )
