"""`[trainer]` of `agent.toml`."""

from pydantic import Field

from agent.settings.sources import CALLABLE
from fedge.service.settings import LocalPath, Section


class TrainerSettings(Section):
    """`[trainer]`: the thread that reads the data and trains."""

    use: str | None = Field(default=None, pattern=CALLABLE)
    """`module:function` of the owner. The agent calls it once, without arguments, when it starts. It returns
    the `Trainer` that replaces the built-in one. It runs in the agent's process with the agent's rights."""
    path: LocalPath | None = None
    """A folder that is searched for the module, after the installed packages."""
    patience_s: float = Field(default=600.0, gt=0, le=7 * 86_400, allow_inf_nan=False)
    """The longest time for reading the data or for one step of training, in seconds. After it the agent
    counts as stuck, and the service manager restarts it."""
