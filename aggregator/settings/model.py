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
    """The names of features if only their number is given."""
    features = number_of(features)
    if type(features) is not int:
        return features
    if not 1 <= features <= MAX_WIDTH:
        raise ValueError(f"a number of features is 1 to {MAX_WIDTH}")
    return tuple(f"x{i}" for i in range(features))


class ModelSection(Section):
    """`[model]`: the inputs, the outputs, and the layers between. The output layer is added."""

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
    """The name of the devices' source to learn from; without it each device's `[data]`."""
    clip: float = Field(default=20.0, ge=0, le=MOST_CLIP, allow_inf_nan=False)
    """Inputs more than this many standard deviations from the survey's mean count as exactly that far, if all
    devices can do it when the survey closes; 0: no bound. A generation keeps what it began with."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if 0 < self.clip < LEAST_CLIP:
            raise ValueError(
                f"clip: at least {LEAST_CLIP:g} standard deviation, got {self.clip:g}; 0 switches it off"
            )
        if (self.classes is None) == (self.targets is None):
            raise ValueError("classes: give classes for a classification, or targets for a regression")
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
        """The task for the survey: the network without the layers that the survey will fix."""
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
