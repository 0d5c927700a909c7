"""`[trainer]` of `agent.toml`."""

from pydantic import Field

from agent.settings.sources import CALLABLE
from fedge.service.settings import LocalPath, Section


class TrainerSettings(Section):
    """`[trainer]`: the thread that reads the data and trains."""

    use: str | None = Field(default=None, pattern=CALLABLE)
    """`module:function` of the owner's: called once without arguments when the agent starts, it returns the
    `Trainer` that trains instead of the built-in one. It runs in the agent's process, and may do what the
    agent may."""
    path: LocalPath | None = None
    """A folder to look for its module in, after the installed packages."""
    patience_s: float = Field(default=600.0, gt=0, le=7 * 86_400, allow_inf_nan=False)
    """The longest that reading the data, or one step of training, may take, in seconds. Beyond it the agent
    counts as stuck, and the service manager starts it again."""
