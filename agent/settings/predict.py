"""`[predict]` of `agent.toml`."""

from pydantic import Field

from fedge.service.settings import Section


class PredictSettings(Section):
    """`[predict]`: which model `fedge-agent predict` uses."""

    tolerance: float | None = Field(default=None, ge=0, le=10, allow_inf_nan=False)
    """How much worse than the model in use a new model may be on this device's held-out rows and still
    replace it: 0.05 allows five points of accuracy less, or an RMSE 5 % larger. Without it every new model is
    used."""
