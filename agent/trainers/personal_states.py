"""What a device keeps of its models of its own: the lineage, and the arrays in `PersonalState.data`.

The arrays of the personal model's part are named `part/NAME`; the model alone is `alone/weights`; the model
in use, where it is not the shared one, is `model/weights`.
"""

import json
import logging
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from numpy.typing import NDArray

from agent.core.state import SHARED, PersonalState
from agent.trainers import states
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import PERSONAL
from fedge.wire.messages.manifest import Manifest

log = logging.getLogger(__name__)

Array = NDArray[Any]
ALONE_WEIGHTS, MODEL_WEIGHTS = "alone/weights", "model/weights"


@dataclass(frozen=True)
class Kept:
    """What a round continues from."""

    part: dict[str, Array] = field(default_factory=dict)
    """The state of the personal model's part; {}: it begins anew."""
    alone: Array | None = None
    """The weights of the model alone, of shape (p,); None: it begins anew."""


def lineage_of(task: bytes, plan: Plan) -> bytes:
    """Return the lineage, 32 bytes: a round continues from a personal model only if their lineages are equal.

    Neither generation nor learning rate is in it: the personal model survives a new generation with the same
    task, and other settings of the training.

    Args:
        task: the task's digest.
        plan: names the personal model and its options.
    """
    named = [
        task.hex(),
        plan.personal_name,
        states.changed(PERSONAL, plan.personal_name, plan.personal_options),
    ]
    return sha256(json.dumps(named, sort_keys=True).encode()).digest()


def current(kept: PersonalState | None, manifest: Manifest, plan: Plan, size: int) -> Kept:
    """Return what a round continues from; what does not belong to it is left out, which is logged.

    Args:
        kept: what the device has; None: nothing.
        manifest: the round.
        plan: its plan.
        size: p, the number of weights.
    """
    if kept is None:
        return Kept()
    if kept.task != manifest.task.digest:
        log.info(
            "the models of this device's own begin anew: those of round %s are of another task", kept.round
        )
        return Kept()
    try:
        arrays = states.unpack(kept.data)
    except (ValueError, TypeError) as error:
        log.error("the models of this device's own begin anew: those of round %s: %s", kept.round, error)
        return Kept()
    alone = arrays.get(ALONE_WEIGHTS)
    part: dict[str, Array] = {}
    if kept.lineage == lineage_of(kept.task, plan):
        part = states.part(arrays, "part/")
    elif kept.name != "none":
        log.info("the personal model begins anew: that of round %s is of another algorithm", kept.round)
    return Kept(part, alone if alone is not None and alone.shape == (size,) else None)


def weights_in_use(kept: PersonalState) -> Array | None:
    """Return the weights of the model in use, of shape (p,); None: it is the shared one.

    Raises:
        ValueError: the state is damaged.
    """
    if kept.chose == SHARED:
        return None
    found = states.unpack(kept.data).get(MODEL_WEIGHTS)
    if found is None:
        raise ValueError("it lacks the model in use")
    return found


def packed(part: dict[str, Array], alone: Array | None, model: Array | None) -> bytes:
    """Encode what a device keeps.

    Raises:
        ValueError: it is too large, or an array holds no numbers.
    """
    arrays = states.named(part, "part/")
    if alone is not None:
        arrays[ALONE_WEIGHTS] = alone
    if model is not None:
        arrays[MODEL_WEIGHTS] = model
    return states.pack(arrays)


def unused(kept: PersonalState | None) -> PersonalState | None:
    """Return the same with the shared model in use, for a plan without models of the device's own.

    None: that is so already.
    """
    return replace(kept, chose=SHARED) if kept is not None and kept.chose != SHARED else None
