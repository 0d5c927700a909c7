"""What a simulated federation gives: the model, the rounds, and the shared model's figures on test rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from aggregator.ledger.views import RoundRow
from fleet.library.models import Model

Stopped = Literal["rounds", "until", "diverged"]


@dataclass(frozen=True)
class Point:
    """The shared model after a round, measured on the test rows, and the bytes that it took so far."""

    round: int
    """The round that made the model; 0: the first weights."""
    bytes_up: int
    """The bytes of all vectors of the updates that counted up to this round, as the codec encodes them."""
    bytes_down: int
    """The bytes of all vectors of the models that these devices trained from."""
    accuracy: float | None
    """For a classification: the share of the test rows whose class is the most probable one."""
    loss: float
    """The mean loss over the test rows."""
    rmse: float | None
    """For a regression: the root mean squared error, in the target's unit."""
    seconds: float | None = None
    """With the argument `seconds`: when the model was made, in virtual seconds since training began."""


@dataclass(frozen=True)
class Progress:
    """How far a simulation is: it is told after each training round."""

    round: int
    """The training round that has closed."""
    rounds: int
    """The number of training rounds at the most."""
    row: RoundRow
    """The round, as in `Result.history`; its held-out figures are of the model that it began with."""
    point: Point | None
    """The model that the round made, as in `Result.curve`; None: there are no test rows."""
    seconds_left: float
    """How long the other rounds take if each takes as long as those before."""


@dataclass(frozen=True)
class Result:
    """The result of a simulated federation."""

    model: Model
    """The newest model."""
    history: tuple[RoundRow, ...]
    """The survey, every training round, and the one that measures the last model; oldest first."""
    curve: tuple[Point, ...] = ()
    """With test rows: the first model and that of each training round, oldest first; else empty."""
    stopped: Stopped = "rounds"
    """Why it ended: `rounds`, by the stopping rule of the settings, which is `rounds` training rounds at the
    most; `until`, because `until` returned True; `diverged`, because too few devices could train from the
    model with finite numbers, or the updates made no finite model. Then `model` is the last one before."""
    why: str = ""
    """If it diverged: which devices do not take part, and why."""
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What each device has told in the last round of `history`, by its name: `held_out`, its held-out rows,
    and its figures of them, such as `accuracy_before` of the shared model, `accuracy_personal` of the model
    that it uses and `accuracy_alone` of one that it trained alone (docs/protocol.md)."""
