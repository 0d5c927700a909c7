"""The admission of one message: `admit(terms, device, message) -> Admitted | Rejection`. Pure.

The checks of every phase are here; those of one phase are in its `judge` (`aggregator.phases`).

Bytes have passed `wire` (limits) and `messages` (types) before; here their meaning is judged. Nothing from
the network is trusted: a device can only add one finite vector of the right length, not too far from the
model, with a weight within bounds, to the round it was chosen for. All these bounds are fixed when the round
opens, so an admission does not depend on other devices. What depends on them is bounded at closing.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.figures import fault, known
from aggregator.phases.phase import phase_of
from fedge.masking.round_messages import Promise
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.fields import Metrics
from fedge.wire.messages.manifest import Cohort
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason, Rejection
from fedge.wire.selection import chosen_of


@dataclass(frozen=True)
class Terms:
    """The terms of the open round."""

    round: RoundId
    kind: str
    """The name of its phase."""
    base: bytes
    """Digest of the base of updates: the model, or the surveyed task."""
    weights: int
    """p, the length of an update's vector."""
    task: Task
    cohorts: tuple[Cohort, ...]
    """The cohorts by attempt: a device that was chosen in any attempt may answer."""
    max_samples: int
    codec: str = "float32"
    """How the plan wants vectors to be encoded."""
    codec_options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    """The federation's, from which the seeds of vectors are derived."""
    sends: tuple[str, ...] = ()
    """The vectors besides the weights that an update has."""
    shared: NDArray[np.bool_] | None = field(default=None, compare=False, repr=False)
    """Which entries of the weights an update has, of shape (p,); None: all."""
    start: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    """The model's weights, of shape (p,)."""
    clusters: tuple[NDArray[np.float32], ...] = field(default=(), compare=False, repr=False)
    """The further shared models, from number 1 on."""
    furthest: float | None = None
    """The largest ‖w - start‖; None: no bound."""
    longest: Mapping[str, float] = field(default_factory=dict)
    """The largest length of each further vector; a vector that is missing here has no bound."""
    made_for: int | None = None
    """The number of the older round that this update may be made for, whose base `base` and `start` are;
    None: only updates for the open round are admitted."""


@dataclass(frozen=True)
class Admitted:
    """The update is admitted, with this weight."""

    samples: int
    figures: Metrics = field(default_factory=dict)
    """The device's figures that are known here, each within its range."""
    lengths: Mapping[str, float] = field(default_factory=dict, compare=False)
    """By vector, as far as they were measured: ‖w - start‖ of the weights, the length of the others."""


def admit(terms: Terms, device: str, message: Update | Survey | Promise) -> Admitted | Rejection:
    """Judge one update or survey that came on the topic of `device`."""
    (verdict,) = admit_all(terms, [(device, message)])
    return verdict


def admit_all(
    terms: Terms, messages: Sequence[tuple[str, Update | Survey | Promise]]
) -> list[Admitted | Rejection]:
    """Judge several, each with the device on whose topic it came; none depends on the others."""
    devices = [device for device, _ in messages]
    asked = {
        device
        for attempt, cohort in enumerate(terms.cohorts)
        for device in chosen_of(cohort, *terms.round, attempt, devices)
    }
    misplaced = [_misplaced(terms, device, message, asked) for device, message in messages]
    placed = [message for (_, message), no in zip(messages, misplaced, strict=True) if no is None]
    judged = zip(placed, phase_of(terms.kind).judge_all(terms, placed), strict=True)
    return [_with_figures(*next(judged)) if no is None else no for no in misplaced]


def _misplaced(
    terms: Terms, device: str, message: Update | Survey | Promise, asked: Set[str]
) -> Rejection | None:
    """Why a message is none of this device in this round; `asked`: the devices that are chosen."""
    if message.device != device:
        return Rejection(Reason.FOREIGN_DEVICE, f"the update names {message.device!r}, its topic {device!r}")
    if refusal := _wrong_round(terms, message):
        return refusal
    # Before the cohort: another base is of another history, whose aggregator chose other devices.
    if message.base != terms.base:
        return Rejection(
            Reason.WRONG_BASE,
            f"made from {message.base.hex()[:12]}…, the round's is {terms.base.hex()[:12]}…",
        )
    if device not in asked:
        return Rejection(Reason.NOT_CHOSEN, f"{device!r} is not chosen for round {terms.round}")
    return None


def _with_figures(message: Update | Survey | Promise, verdict: Admitted | Rejection) -> Admitted | Rejection:
    """The verdict, after a look at the figures of a message that its phase admits."""
    if isinstance(verdict, Rejection):
        return verdict
    if (why := fault(message.metrics)) is not None:
        return Rejection(Reason.IMPLAUSIBLE, why)
    return Admitted(verdict.samples, known(message.metrics), verdict.lengths)


def _wrong_round(terms: Terms, message: Update | Survey | Promise) -> Rejection | None:
    found = round_of(message)
    if found.generation != terms.round.generation:
        return Rejection(
            Reason.OTHER_GENERATION, f"generation {found.generation}, ours is {terms.round.generation}"
        )
    if found.round < terms.round.round and found.round != terms.made_for:
        return Rejection(Reason.STALE_ROUND, f"round {found} is closed; {terms.round} is open")
    if found.round > terms.round.round:
        return Rejection(Reason.FUTURE_ROUND, f"round {found} is not open yet; {terms.round} is")
    if not isinstance(message, phase_of(terms.kind).message):
        return Rejection(Reason.WRONG_KIND, f"a {message.TYPE} where the round asks for kind {terms.kind!r}")
    return None
