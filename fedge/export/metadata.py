"""The metadata in each file of a model: its origin, its columns, and how inputs are handled."""

from dataclasses import dataclass

from fedge.data.disclosure import listing
from fedge.nn.spec import fine_columns
from fedge.wire.messages.task import Task

WIDE = (
    "float32 would keep only a few different values of {columns}: inputs are standardized in float64, "
    "and rounded then"
)
FILLED = "a missing value (NaN) is filled with the mean of its column (standardize.mean)"
UNFILLED = (
    "a row with a missing value (NaN) has no answer: onnxruntime gives NaN, other engines may give anything"
)

PRIVACY = "privacy"
"""The key of what is said of differential privacy, where the model has noise for it."""


@dataclass(frozen=True)
class Origin:
    """The origin of a model."""

    federation: str
    generation: int
    round: int
    model: str
    """The digest of the model's message, in hexadecimal."""


def input_reason(task: Task) -> str:
    """The reason why inputs are float64."""
    return WIDE.format(columns=listing([task.features[j] for j in fine_columns(task.network)]))


def columns_of(task: Task) -> dict[str, tuple[str, ...]]:
    """The names of the inputs and outputs, by what they are."""
    named = {"features": task.features, "classes": task.classes, "targets": task.targets}
    return {key: names for key, names in named.items() if names is not None}
