"""`[model]` of `federation.toml`."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from aggregator.settings.names import Columns, require_unique
from fedge.data.rules import Proposal
from fedge.nn.spec import LEAST_CLIP, MAX_WIDTH, MOST_CLIP, Dense, NetworkSpec, TrainableSpec
from fedge.service.settings import Section, number_of
from fedge.wire.messages.fields import SourceName
from fedge.wire.messages.task import Task


def _named(features: object) -> object:
    """The names of the features, made up as x0, x1, … if only their number is given."""
    features = number_of(features)
    if type(features) is not int:
        return features
    if not 1 <= features <= MAX_WIDTH:
        raise ValueError(f"the number of features must be 1 to {MAX_WIDTH}, got {features}")
    return tuple(f"x{i}" for i in range(features))


class ModelSection(Section):
    """`[model]`: the inputs, the outputs, and the hidden layers. The output layer is added automatically."""

    features: Annotated[Columns, BeforeValidator(_named)]
    """The input columns by name, or how many there are: `features = 784` calls them x0 to x783."""
    classes: Columns | None = None
    """The class names of a classification; the outputs are in this order."""
    targets: Columns | None = None
    """The target columns of a regression."""
    layers: tuple[TrainableSpec, ...] = Field(default=(), max_length=60)
    """Hidden layers: { type = "dense", units = 64 }, { type = "relu" }, "tanh", "sigmoid", or one of an
    extension."""
    source: SourceName | None = None
    """The name of the source, in the devices' settings, to learn from; default: each device's `[data]`."""
    clip: float = Field(default=20.0, ge=0, le=MOST_CLIP, allow_inf_nan=False)
    """Inputs are clipped at this many standard deviations from the survey's mean, if all devices can do it
    when the survey closes; 0: no clipping. A generation keeps the value that it began with."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if 0 < self.clip < LEAST_CLIP:
            raise ValueError(
                f"clip: at least {LEAST_CLIP:g} standard deviation, got {self.clip:g}; 0 means no clipping"
            )
        if (self.classes is None) == (self.targets is None):
            raise ValueError("classes: set either classes (classification) or targets (regression)")
        if self.classes is not None and len(self.classes) < 2:
            raise ValueError(f"classes: a classification has at least 2, got {len(self.classes)}")
        for key in ("features", "classes", "targets"):
            require_unique(key, getattr(self, key))
        try:
            self.task(reconnect_spread_s=1.0)
        except ValidationError as error:  # the network's own rules
            text = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"layers: {text}") from None
        return self

    def task(self, reconnect_spread_s: float, rules: Proposal | None = None) -> Task:
        """The task for the survey: its network lacks the frozen layers, which the survey makes.

        Args:
            reconnect_spread_s: the seconds over which devices spread their reconnections.
            rules: the rules for the data that are proposed to the devices; None: none.
        """
        outputs = self.classes or self.targets or ()
        network = NetworkSpec(
            inputs=len(self.features),
            layers=(*self.layers, Dense(units=len(outputs))),
            loss="cross-entropy" if self.classes else "mse",
        )
        return Task(
            network=network,
            features=self.features,
            classes=self.classes,
            targets=self.targets,
            source=self.source,
            reconnect_spread_s=reconnect_spread_s,
            rules=rules,
        )
