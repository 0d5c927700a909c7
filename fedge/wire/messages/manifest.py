"""The manifest of a round: what it asks for, and which devices it asks."""

from typing import ClassVar

from pydantic import Field, model_validator

from fedge.algorithms.plan import Plan
from fedge.wire.encoding import MAX_PAYLOAD
from fedge.wire.messages.fields import MAX_SEED, Counter, Generation, Seconds
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.message import Message, Part
from fedge.wire.messages.protection import Protection
from fedge.wire.names import Capabilities, WireName


class Cohort(Part):
    """The chosen devices: those whose hash is below `fraction` (`fedge.wire.selection`)."""

    fraction: float = Field(gt=0, le=1, allow_inf_nan=False)
    seed: int = Field(ge=0, le=MAX_SEED)


class Manifest(Message):
    """The retained `round` message: all that a device needs to take part, however long it was off."""

    TYPE: ClassVar[str] = "round"
    MAX_VALUES: ClassVar[int] = 4_096

    generation: Generation
    round: Counter
    attempt: Counter = 0
    kind: WireName
    """`survey`, `train`, `masked`, `evaluate`: what the round asks for
    (`fedge.wire.capabilities.PHASE_NAMES`)."""
    state: WireName
    """`open` or `done` (`fedge.wire.capabilities.STATES`)."""
    seed: int = Field(ge=0, le=MAX_SEED)
    """The federation's seed, from which a device derives its shuffling."""
    task: Blob
    model: Blob | None = None
    """The model to start from; None until the survey has fixed the task."""
    coded: Blob | None = None
    """The coded form of the model (`fedge.wire.models`), which is in the model's slot in its place; None: the
    model itself is there."""
    key: Blob | None = None
    """The key frame that the coded form needs; None: none."""
    plan: Plan | None = None
    cohort: Cohort
    seconds_left: Seconds
    """Correct at the moment of publishing; subtract the age of the retained message."""
    requires: Capabilities | None = None
    """The capabilities that a device needs (`fedge.wire.capabilities`); None: those of 0.2.0."""
    max_samples: int | None = Field(default=None, ge=20, le=2**53)
    """The largest admitted n_k; a device with more rows trains on this many of the newest. None: not
    announced."""
    max_staleness: Counter | None = None
    """With buffered rounds: how many rounds back the one may be that an update was made for. A device goes on
    with its work when the next round is announced. None: it drops the work."""

    max_payload_bytes: int | None = Field(default=None, ge=1, le=MAX_PAYLOAD)
    """The largest payload that a device publishes; it cuts its updates accordingly. None: `MAX_PAYLOAD`."""
    protection: Protection | None = None
    """What the round promises about each device's part in it; None: nothing."""

    @model_validator(mode="after")
    def _check(self) -> "Manifest":
        if self.kind in ("train", "masked") and (self.model is None or self.plan is None):
            raise ValueError("a training round names its model and its plan")
        masked = self.protection.masked if self.protection is not None else None
        if self.kind == "masked" and (masked is None or masked.clip is None):
            raise ValueError("a masked round says how updates are clipped and masked")
        if self.kind == "evaluate" and self.model is None:
            raise ValueError("a measuring round names its model")
        if self.coded is not None and (self.model is None or self.coded.slot != self.model.slot):
            raise ValueError("a coded form is in the slot of its model")
        if self.key is not None and self.coded is None:
            raise ValueError("a key frame belongs to a coded form")
        return self
