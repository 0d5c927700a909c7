"""What one update must be to count: `admit(terms, device, message) -> Admitted | Refusal`. Pure.

Bytes have passed `wire` (limits) and `messages` (types) before; here their meaning is judged. Nothing from
the network is trusted: a device can only ever add one finite vector of the right length, not too far from the
model, with a weight within bounds, to the round it was chosen for. All these bounds are fixed when the round
opens: whoever is told "admitted" depends on nobody else. What depends on the others is bounded at closing.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.figures import fault, known
from aggregator.aggregation.survey import Measured, Refusal, check
from fedge.algorithms.registry import CODECS
from fedge.algorithms.rules.bounds import distance
from fedge.errors import ProtocolError
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.fields import Metrics
from fedge.wire.messages.manifest import Cohort
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import FIGURES, WEIGHTS, Update
from fedge.wire.reasons import Reason
from fedge.wire.selection import chosen


@dataclass(frozen=True)
class Terms:
    """What the round that is open asks for."""

    round: RoundId
    kind: Literal["survey", "train", "evaluate"]
    base: bytes
    """Digest of what updates are made from: the model, or the surveyed task."""
    weights: int
    """p, the length of an update's vector."""
    task: Task
    cohorts: tuple[Cohort, ...]
    """Who was chosen, by attempt: who was asked once may answer."""
    max_samples: int
    codec: str = "float32"
    """How the plan wants vectors to be encoded."""
    start: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    """The model's weights, of shape (p,)."""
    furthest: float | None = None
    """The largest ‖w - start‖; None: no bound."""


@dataclass(frozen=True)
class Admitted:
    """The update counts, with this weight."""

    samples: int
    figures: Metrics = field(default_factory=dict)
    """What it tells of its work, as far as that is known here: each within its range."""


def admit(terms: Terms, device: str, message: Update | Survey) -> Admitted | Refusal:
    """Judge one update or survey that came on the topic of `device`."""
    if message.device != device:
        return Refusal(Reason.FOREIGN_DEVICE, f"the update names {message.device!r}, its topic {device!r}")
    if refusal := _wrong_round(terms, message):
        return refusal
    # First, for this is no answer in the round: another aggregator made another choice, of another model.
    if message.base != terms.base:
        return Refusal(
            Reason.WRONG_BASE,
            f"made from {message.base.hex()[:12]}…, the round's is {terms.base.hex()[:12]}…",
        )
    asked = any(chosen(cohort, *terms.round, attempt, device) for attempt, cohort in enumerate(terms.cohorts))
    if not asked:
        return Refusal(Reason.NOT_CHOSEN, f"{device!r} is not chosen for round {terms.round}")
    if isinstance(message, Survey):
        found = check(message, terms.task, terms.max_samples)
        verdict = Admitted(message.samples) if isinstance(found, Measured) else found
    else:
        verdict = _judge_vector(terms, message)
    if isinstance(verdict, Refusal):
        return verdict
    if (why := fault(message.metrics)) is not None:
        return Refusal(Reason.IMPLAUSIBLE, why)
    return Admitted(verdict.samples, known(message.metrics))


def _wrong_round(terms: Terms, message: Update | Survey) -> Refusal | None:
    found = round_of(message)
    if found.generation != terms.round.generation:
        return Refusal(
            Reason.OTHER_GENERATION, f"generation {found.generation}, ours is {terms.round.generation}"
        )
    if found.round < terms.round.round:
        return Refusal(Reason.STALE_ROUND, f"round {found} is closed; {terms.round} is open")
    if found.round > terms.round.round:
        return Refusal(Reason.FUTURE_ROUND, f"round {found} is not open yet; {terms.round} is")
    if isinstance(message, Survey) != (terms.kind == "survey"):
        return Refusal(Reason.WRONG_KIND, f"a {message.TYPE} where the round asks for kind {terms.kind!r}")
    return None


def _judge_figures(update: Update) -> Admitted | Refusal:
    """Of a round that only measures: no vector comes, so that none can count."""
    if update.kind != FIGURES:
        return Refusal(Reason.WRONG_KIND, f"an update of kind {update.kind!r}: the round only measures")
    if update.body:
        detail = f"{len(update.body)} bytes of a vector: the round only measures"
        return Refusal(Reason.WRONG_LENGTH, detail)
    return Admitted(update.samples)


def _judge_vector(terms: Terms, update: Update) -> Admitted | Refusal:
    if not 1 <= update.samples <= terms.max_samples:
        return Refusal(
            Reason.BAD_SAMPLE_COUNT, f"n_k = {update.samples}: a whole number in 1…{terms.max_samples}"
        )
    if terms.kind == "evaluate":
        return _judge_figures(update)
    if update.kind != WEIGHTS:
        return Refusal(Reason.WRONG_KIND, f"an update of kind {update.kind!r}: the plan asks for weights")
    if update.codec not in CODECS.names() or update.codec != terms.codec:
        detail = f"encoded as {update.codec!r}: the plan asks for {terms.codec!r}"
        return Refusal(Reason.WRONG_KIND if update.codec in CODECS.names() else Reason.UNSUPPORTED, detail)
    try:
        vector: NDArray[Any] = CODECS.make(update.codec).decode(update.body, terms.weights)
    except ProtocolError as error:
        return Refusal(Reason.WRONG_LENGTH, str(error))
    # One pass without a mask of p booleans: a sum is finite unless a term is not, or it overflows, and
    # only then every entry is looked at.
    with np.errstate(all="ignore"):
        suspicious = not np.isfinite(np.dot(vector, vector))
    if suspicious and not np.isfinite(vector).all():
        worst = int(np.argmax(~np.isfinite(vector)))
        return Refusal(Reason.NOT_FINITE, f"weight {worst} is {vector[worst]}")
    if terms.start is not None and terms.furthest is not None:
        norm = distance(terms.start, vector)
        if norm > terms.furthest:
            return Refusal(
                Reason.TOO_FAR,
                f"the weights are {norm:.3g} from the model's, at most {terms.furthest:.3g} is admitted "
                "([rounds] max_norm): look for samples out of range in the device's data",
            )
    return Admitted(update.samples)
