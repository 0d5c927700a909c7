"""What the aggregator asks of a chosen device in one training round."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedge.wire.names import WireName, mark_unknown, tidy

MAX_EPOCHS = 1_000
MAX_OPTIONS = 32
"""Options of one part."""

OptionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Option = bool | int | Annotated[float, Field(allow_inf_nan=False)] | Annotated[str, Field(max_length=200)]
PartOptions = Annotated[dict[OptionName, Option], Field(max_length=MAX_OPTIONS)]
"""What one part of an algorithm is told; what the names mean only the part knows."""


class Plan(BaseModel):
    """Local training: E epochs of stochastic gradient descent in batches of B samples.

    FedAvg is any such plan (McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from
    Decentralized Data", AISTATS, Algorithm 1). FedSGD is its smallest case, one step on all samples at once
    (`epochs=1, batch_size=0`): averaging w - α·g_k by n_k is one step along the fleet's average gradient.

    Each field changes what is computed, so a field that is not known is kept, to be refused by its name. A
    field that is added later is None where it asks for nothing: it is not sent then, and older devices can
    take part.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, defer_build=True)

    epochs: int = Field(default=5, ge=1, le=MAX_EPOCHS)
    """E, passes over the local training samples."""
    batch_size: int = Field(default=16, ge=0, le=1_000_000)
    """B, samples a step; 0 means all of them at once."""
    learning_rate: float = Field(default=0.05, gt=0, le=1e3, allow_inf_nan=False)
    """α of w ← w - α v: how far each step goes."""
    momentum: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    """μ of v ← μ v + g, where g is the gradient: how much of the steps before is in a step."""
    weight_decay: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    """λ of g ← g + λ w: how strongly weights are drawn to zero."""
    codec: WireName = "float32"
    """How the update's vectors become bytes: a file in `fedge.algorithms.codecs`."""
    codec_options: PartOptions | None = None
    """What the codec is told, by its own names."""
    local: WireName | None = None
    """The local algorithm: a file in `fedge.algorithms.local`; none: `sgd`."""
    local_options: PartOptions | None = None
    """What the local algorithm is told, by its own names."""

    _settled = model_validator(mode="after")(mark_unknown)

    def __hash__(self) -> int:
        """Equal plans have equal ones; options are maps, which have none."""
        return hash((self.epochs, self.batch_size, self.learning_rate, self.codec, self.local))

    @property
    def local_name(self) -> str:
        """The name of the local algorithm."""
        return self.local or "sgd"

    @property
    def unknown(self) -> tuple[str, ...]:
        """The fields that this program does not know, as names."""
        return tidy(self.model_extra or ())

    def steps(self, samples: int) -> int:
        """How often so many samples change the weights.

        >>> Plan(epochs=2, batch_size=16).steps(40)
        6
        """
        return self.epochs * (1 if self.batch_size == 0 else -(-samples // self.batch_size))


def fedsgd(learning_rate: float) -> Plan:
    """The plan of FedSGD: one full-batch step, w - α·g."""
    return Plan(epochs=1, batch_size=0, learning_rate=learning_rate)
