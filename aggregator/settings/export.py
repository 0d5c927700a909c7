"""`[export]` of `federation.toml`."""

from pydantic import Field

from aggregator.core.choice import How
from fedge.service.settings import LocalPath, Section


class ExportSection(Section):
    """`[export]`: where the model is written for use elsewhere."""

    folder: LocalPath = Field(default="export", validate_default=True)
    """The folder of `model.onnx`, `model.safetensors` and `manifest.json`."""
    choose: How = "best"
    """Which model is exported: the `best` of those that were measured, by `[stopping] patience_on`, or the
    `newest`. The other one is written into the subfolder `newest` or `best`. With `[rounds] schedule =
    "buffered"` the default is `newest`, because few of its models are measured (docs/buffered.md)."""
    samples: LocalPath | None = None
    """A NumPy archive (.npz) with an array `X` of raw samples, one in each row; each ONNX file is compared on
    these too."""
