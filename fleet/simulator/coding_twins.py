"""The slow twins of coded models: what everybody decodes, and the error that is left, from the formulas.

Sums and differences are Python's floats, one entry after another, each rounded to float32. The codecs
themselves are production's: their own tests say what they must give.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from fedge.algorithms.codecs.seeds import vector_seed
from fedge.algorithms.registry import CODECS
from fedge.wire.freshness import RoundId
from fleet.simulator.compositions import Composition
from fleet.simulator.twins import Numbers, Usable, single

Vectors = Mapping[str, Numbers]


@dataclass(frozen=True)
class Sent:
    """What the coded form of a model leaves for the next one."""

    announced: Vectors
    errors: Vectors = field(default_factory=dict)
    key: RoundId | None = None
    """The round that made the key frame; None: the form needs none."""


def sent(
    with_: Composition,
    round_id: RoundId,
    made: Vectors,
    before: Sent | None,
    base: RoundId,
    models: Mapping[RoundId, Vectors],
    usable: Mapping[str, Usable],
) -> Sent:
    """The announced vectors of a round's model.

    Args:
        with_: the composition, which names the codec.
        round_id: the round that closes.
        made: what its updates make.
        before: what the model before has left; None: it is the first of its generation.
        base: the round that made the model that this one was announced with.
        models: the announced models by the round that made them.
        usable: what the models themselves must pass, by name.
    """
    if with_.model_codec == "float32":
        return Sent(made)
    key = None
    if with_.model_codec != "float16":
        key = before.key if before is not None else None
        if key is None or round_id.round - key.round > with_.key_every:
            key = base
    codec, announced, errors = CODECS.make(with_.model_codec), {}, {}
    for name, vector in made.items():
        left = (before.errors if before is not None else {}).get(name, [0.0] * len(vector))
        master = [single(x + e) for x, e in zip(vector, left, strict=True)]
        start = [0.0] * len(vector) if key is None else models[key].get(name, [0.0] * len(vector))
        change = [single(m - k) for m, k in zip(master, start, strict=True)]
        if not all(map(isfinite, (*master, *change))):
            return Sent(made)
        seed = vector_seed(0, *round_id, "|model", name)
        body, _ = codec.encode(np.array(change, np.float32), {}, seed)
        told = codec.decode(body, len(vector), seed).tolist()
        announced[name] = [single(k + d) for k, d in zip(start, told, strict=True)]
        errors[name] = [single(m - w) for m, w in zip(master, announced[name], strict=True)]
        if not all(map(isfinite, (*announced[name], *errors[name]))):
            return Sent(made)
    if not all(passes(announced[name]) for name, passes in usable.items()):
        return Sent(made)
    return Sent(announced, errors, key)
