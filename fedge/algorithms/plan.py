"""The plan: what the aggregator asks of a chosen device in one training round."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedge.wire.names import WireName, mark_unknown, tidy

MAX_EPOCHS = 1_000
MAX_OPTIONS = 32
"""The most options of one part."""

OptionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Option = bool | int | Annotated[float, Field(allow_inf_nan=False)] | Annotated[str, Field(max_length=200)]
PartOptions = Annotated[dict[OptionName, Option], Field(max_length=MAX_OPTIONS)]
"""Options of one part of an algorithm, by name; only the part knows what they mean."""


class Plan(BaseModel):
    """Local training: E epochs of stochastic gradient descent in batches of B samples.

    FedAvg is any such plan (McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from
    Decentralized Data", AISTATS, Algorithm 1). FedSGD is its smallest case, one step on all samples at once
    (`epochs=1, batch_size=0`): averaging w - α·g_k by n_k is one step along the fleet's average gradient.

    Each field changes the result, so an unknown field is kept, and the device declines by its name. A field
    that was added later is None by default and then not sent, so that older devices can take part.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, defer_build=True)

    epochs: int = Field(default=5, ge=1, le=MAX_EPOCHS)
    """E, passes over the local training samples."""
    batch_size: int = Field(default=16, ge=0, le=1_000_000)
    """B, samples a step; 0 means all of them at once."""
    learning_rate: float = Field(default=0.05, gt=0, le=1e3, allow_inf_nan=False)
    """α of w ← w - α v: the size of each step."""
    momentum: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    """μ of v ← μ v + g, where g is the gradient: the share of earlier steps in a step."""
    weight_decay: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    """λ of g ← g + λ w: how strongly weights are drawn to zero."""
    codec: WireName = "float32"
    """How an update's vectors are encoded as bytes: a file in `fedge.algorithms.codecs`."""
    codec_options: PartOptions | None = None
    """The codec's options, by name."""
    local: WireName | None = None
    """The local algorithm: a file in `fedge.algorithms.local`; without it `sgd`."""
    local_options: PartOptions | None = None
    """The local algorithm's options, by name."""

    max_gradient: float | None = Field(default=None, gt=0, le=1e6, allow_inf_nan=False)
    """The largest length of a batch's mean gradient g, over all weights. A longer one is shortened to it,
    before weight decay and momentum. Without it there is no bound."""

    personal: WireName | None = None
    """What a device makes for itself of the shared model: a file in `fedge.algorithms.personal`; without it
    nothing."""
    personal_options: PartOptions | None = None
    """Its options, by name."""
    compare: bool | None = None
    """Whether devices also train a model of their own alone, to compare the others with."""

    _settled = model_validator(mode="after")(mark_unknown)

    def __hash__(self) -> int:
        """Equal plans have equal hashes; options are maps, which have no hash of their own."""
        return hash((self.epochs, self.batch_size, self.learning_rate, self.codec, self.local))

    @property
    def local_name(self) -> str:
        """The name of the local algorithm."""
        return self.local or "sgd"

    @property
    def personal_name(self) -> str:
        """The name of the personal model."""
        return self.personal or "none"

    @property
    def adapts(self) -> bool:
        """Whether devices have models of their own, beside the shared one."""
        return self.personal is not None or bool(self.compare)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The fields that this program does not know, as names."""
        return tidy(self.model_extra or ())

    def steps(self, samples: int) -> int:
        """The number of steps with this many samples.

        >>> Plan(epochs=2, batch_size=16).steps(40)
        6
        """
        return self.epochs * (1 if self.batch_size == 0 else -(-samples // self.batch_size))


def fedsgd(learning_rate: float) -> Plan:
    """The plan of FedSGD: one full-batch step, w - α·g."""
    return Plan(epochs=1, batch_size=0, learning_rate=learning_rate)
