"""`[limits]` of `agent.toml`."""

from pydantic import Field

from fedge.algorithms.plan import MAX_EPOCHS
from fedge.service.settings import Section


class LimitsSettings(Section):
    """`[limits]`: the most that a federation may ask of this device. The device declines a round that asks
    for more."""

    epochs: int | None = Field(default=None, ge=1, le=MAX_EPOCHS)
    """The most epochs in a round."""
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The longest training in a round, in seconds. After this time, or earlier if it is far too slow
    to finish, training stops and the device declines. `prox` and `nova` send the steps done by then."""
    bytes_per_day: int | None = Field(default=None, ge=1)
    """The most bytes sent and received in a day, as MQTT topics and payloads."""
    state_bytes: int | None = Field(default=None, ge=0)
    """The most bytes on disk for the state of a round's algorithm. While an update waits for its answer, the
    next state is there too, and counts."""
    memory_bytes: int | None = Field(default=None, ge=1)
    """The most bytes of memory for a round's vectors: the announced ones, the new weights, the algorithm's
    state, and what it needs beside them. The data, the layers' outputs and the program itself are not
    counted."""
    sources: tuple[str, ...] | None = None
    """The names of the sources that rounds may use; `[data]` has the name data. Without it: all sources."""
