"""The further vectors of the next model, which the local algorithm makes of what the rule made of them.

A part from outside that does not derive from `fedge.algorithms.protocols.LocalAlgorithm` may lack
`handed_on`. Then the aggregate is announced, as by the protocol's own method.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from aggregator.core.parts import Part, blaming, require_vector, unchanged
from fedge.algorithms.registry import LOCAL
from fedge.wire.freshness import RoundId

Vector = NDArray[np.float32]

REMEDY = "or set another [plan] local in federation.toml"


def handed_on(
    round_id: RoundId,
    part: Part,
    announced: Callable[[tuple[str, ...], int], Mapping[str, Vector]],
    aggregates: Mapping[str, Vector],
    share: float,
) -> dict[str, Vector]:
    """The vectors besides the weights that the next model is announced with, by name.

    Args:
        round_id: of the round that closes.
        part: the local algorithm.
        announced: returns the vectors of these names, of this size, that the round was announced with.
        aggregates: what the rule made of the vectors of each name, of shape (p,).
        share: of the fleet that counts in the round.

    Raises:
        DamagedState: the announced model lacks one of the vectors.
        PartError: the local algorithm fails, or its result is not a float32 vector of that length.
    """
    if not aggregates:
        return {}
    who, local = f"the local algorithm {part.name}", part.made(LOCAL)
    if not hasattr(local, "handed_on"):
        return dict(aggregates)
    size = len(next(iter(aggregates.values())))
    before = announced(tuple(aggregates), size)
    made = {}
    for name, aggregate in aggregates.items():
        given = unchanged(aggregate)
        with blaming(who, str(round_id), REMEDY):
            with np.errstate(over="ignore", invalid="ignore"):  # the caller checks whether it is usable
                vector = local.handed_on(name, unchanged(before[name]), given, share)
            require_vector(who, vector, size)
        made[name] = aggregate if vector is given else vector
    return made
