"""What a round's algorithm takes on a device, before it begins: disk for its state, memory for its vectors.

The unit is a vector of the size of the weights. A model is announced with the weights and the further vectors
that the algorithm receives, so its bytes tell the size of one vector. The announced model, the new weights
the buffers that the plan asks for, and what the algorithm needs beside them (`LocalAlgorithm.memory`) are in
memory together with the state.

A device that has models of its own ([personal]) keeps the state of the personal model's part, the personal
model in use, which is on disk twice (in the database and in the file for `predict`), and with `compare` the
model alone. The weights that `head` keeps besides are not counted, because the plan does not tell how many
they are.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np

from fedge.algorithms.plan import PartOptions, Plan
from fedge.algorithms.protocols import LocalAlgorithm
from fedge.algorithms.registry import CODECS, LOCAL, PERSONAL

SAMPLE = 256
"""The size of the vector whose state tells the bytes for each weight."""


@dataclass(frozen=True)
class Cost:
    """In bytes."""

    state: int
    """On disk: the state, and the next one, which is there too while an update waits for its answer."""
    memory: int
    """Of the round's vectors, while it trains."""


def cost_of(plan: Plan, model_bytes: int) -> Cost | None:
    """What a round with this plan takes; None: this program lacks a part that it names, or an option of it.

    Args:
        plan: names the local algorithm and the codec.
        model_bytes: of the announced model, with its further vectors.
    """
    local = _shares(plan.local_name, _fixed(plan.local_options), plan.codec, _fixed(plan.codec_options))
    if local is None:
        return None
    own = _own(plan.personal_name, _fixed(plan.personal_options))
    if own is None:
        return None
    received, memory, state = local
    models, kept = own
    received += models - 1
    alone, personal = int(bool(plan.compare)), int(plan.personal is not None)
    # fedge/algorithms/local/descent.py has a buffer for each of these
    buffers = bool(plan.momentum) + bool(plan.weight_decay) + (plan.max_gradient is not None)
    vector = model_bytes / received
    disk = 2 * state + kept + alone + 2 * personal
    more = kept + 2 * personal + 2 * alone  # the models made, and what was kept of the former ones
    return Cost(ceil(disk * vector), ceil((received + 1 + buffers + memory + state + more) * vector))


def _fixed(options: PartOptions | None) -> tuple[tuple[str, object], ...]:
    return tuple(sorted((options or {}).items()))


@lru_cache(maxsize=16)
def _shares(
    name: str,
    options: tuple[tuple[str, object], ...],
    codec: str,
    codec_options: tuple[tuple[str, object], ...],
) -> tuple[int, float, float] | None:
    """Vectors received, memory beyond `sgd`, and state; in vectors of the size of the weights."""
    try:
        local, encoder = LOCAL.make(name, dict(options)), CODECS.make(codec, dict(codec_options))
    except ValueError:
        return None
    arrays = list(local.init(SAMPLE).values())
    for _ in range(1 + len(local.sends)):
        arrays += encoder.init(SAMPLE).values()
    state = sum(np.asarray(array).nbytes for array in arrays) / (4 * SAMPLE)
    # A part from outside may not derive from the protocol's class, and then may lack `memory`.
    return 1 + len(local.receives), float(getattr(local, "memory", LocalAlgorithm.memory)), state


@lru_cache(maxsize=16)
def _own(name: str, options: tuple[tuple[str, object], ...]) -> tuple[int, float] | None:
    """The number of shared models, and the state of a personal model's part in vectors, without scalars."""
    try:
        part = PERSONAL.make(name, dict(options))
    except ValueError:
        return None
    arrays = [array for each in part.init(SAMPLE).values() if (array := np.asarray(each)).ndim]
    # A part from outside may not derive from the protocol's class, and then may lack `models`.
    return int(getattr(part, "models", 1)), sum(array.nbytes for array in arrays) / (4 * SAMPLE)
