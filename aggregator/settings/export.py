"""`[export]` of `federation.toml`."""

from pydantic import Field

from aggregator.core.choice import How
from fedge.service.settings import LocalPath, Section


class ExportSection(Section):
    """`[export]`: where the model lies for those who use it."""

    folder: LocalPath = Field(default="export", validate_default=True)
    """`model.onnx`, `model.safetensors` and `manifest.json`."""
    choose: How = "best"
    """Which model these are: `best` of those that were measured, by `[stopping] patience_on`, or `newest`.
    The other one lies beside them, in the folder `newest` or `best`."""
    samples: LocalPath | None = None
    """NumPy archive with raw samples `X` that may lie here: each ONNX file is compared on them as well."""
