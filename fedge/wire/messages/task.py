"""The task: what the federation learns."""

from typing import ClassVar

from pydantic import model_validator

from fedge.data.rules import Proposal
from fedge.nn.spec import NetworkSpec
from fedge.wire import encoding
from fedge.wire.messages.fields import Names, Seconds, SourceName
from fedge.wire.messages.message import Message


class Task(Message):
    """What the federation learns: the network, and the meaning of its inputs and outputs."""

    TYPE: ClassVar[str] = "task"
    MAX_VALUES: ClassVar[int] = encoding.MAX_VALUES

    network: NetworkSpec
    features: Names
    """Names of the input columns, in order."""
    classes: Names | None = None
    """Class names in the order of the outputs, for a classifier."""
    targets: Names | None = None
    """Target columns in the order of the outputs, for a regression."""
    source: SourceName | None = None
    """The name of the devices' source of samples; None: their default source."""
    reconnect_spread_s: Seconds = 1.0
    """Devices reconnect within this many seconds of each other after an outage of the broker."""
    rules: Proposal | None = None
    """Proposed rules for reading data, where owners leave them open; None: nothing is proposed."""

    @model_validator(mode="after")
    def _check(self) -> "Task":
        if not self.network.computable:
            return self
        if len(self.features) != self.network.inputs:
            raise ValueError(f"{len(self.features)} feature names for {self.network.inputs} inputs")
        wanted, other = (
            (self.classes, self.targets)
            if self.network.loss == "cross-entropy"
            else (self.targets, self.classes)
        )
        if wanted is None or other is not None:
            raise ValueError("a classifier has classes and no targets, a regression targets and no classes")
        if len(wanted) != self.network.outputs:
            raise ValueError(f"{len(wanted)} output names for {self.network.outputs} outputs")
        return self

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs: classes or targets."""
        return self.classes or self.targets or ()
