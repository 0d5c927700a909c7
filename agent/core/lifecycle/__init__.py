"""What a device decides: `step(state, event) -> (state, effects)`, and nothing else affects it.

Pure (law 1): time comes in as `now_s` (monotonic seconds), randomness and ids as fields of events. The two
machines are the link (`link_up`) and the work; a dead Wi-Fi changes only the first. Effects are performed
in the order they are listed: what must be durable comes before what can be seen (law 4).
"""

from agent.core.lifecycle.machine import step
from agent.core.lifecycle.schedule import due_s
from agent.core.lifecycle.statuses import status

__all__ = ["due_s", "status", "step"]
