"""`[trainer]` of `agent.toml`."""

from pydantic import Field

from fedge.service.settings import Section


class TrainerSettings(Section):
    """`[trainer]`: the thread that reads the data and trains."""

    patience_s: float = Field(default=600.0, gt=0, le=7 * 86_400, allow_inf_nan=False)
    """The longest that reading the data, or one step of training, may take, in seconds. Beyond it the agent
    counts as stuck, and the service manager starts it again."""
