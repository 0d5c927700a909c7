"""`[stopping]` of `federation.toml`."""

from pydantic import Field

from aggregator.core.progress import FigureName
from fedge.service.settings import Section


class StoppingSection(Section):
    """`[stopping]`: learning ends as soon as one of these conditions is met."""

    rounds: int = Field(default=100, ge=1, le=2**31 - 2)
    """After this many training rounds."""
    accuracy: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    """When the global model reaches this accuracy on the devices' held-out parts. At least three devices must
    report it, or all devices whose updates count."""
    rmse: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """For a regression: when the global model's root mean squared error on the held-out parts is at most
    this, in the target's unit. As many devices must report it as for `accuracy`."""
    patience: int | None = Field(default=None, ge=1)
    """When the figure of `patience_on` has not improved in this many rounds that report it. As many devices
    must report it as for `accuracy`."""
    patience_on: FigureName = "loss"
    """The figure of the held-out parts by which one model is better than another, for `patience` and for
    `[export] choose`: `loss`; `accuracy` of a classification; `rmse` or `mae` of a regression."""
    weight_change: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """When a round changes the weights by less than this: ‖w' - w‖ / ‖w‖."""
