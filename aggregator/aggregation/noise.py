"""The secret noise of a round, and a digest of all that the round's model follows from.

A seed serves one computation of one sum: the aggregator draws another one each time it begins to close a
round. Only the seed of the computation whose model is announced is ever stored, in the transaction that saves
the model and its charge. So nothing was seen of a computation that a crash ended, and a ledger that is
restored from a backup has no seed that it could use for other updates.
"""

from collections.abc import Mapping

import numpy as np

from aggregator.core.parts import Part
from aggregator.core.verdicts import Verdict
from fedge.algorithms.protocols import State
from fedge.algorithms.rules.private_mean import PRIVATE_MEAN, SEED
from fedge.privacy.charges import digest_of
from fedge.wire.freshness import RoundId


def is_private(rule: Part) -> bool:
    """Whether a rule adds noise for differential privacy."""
    return rule.name == PRIVATE_MEAN.name


def seeded(rule: Part, state: State, seed: bytes | None) -> State:
    """The rule's state with the round's secret seed; other rules have none."""
    if not is_private(rule) or seed is None:
        return state
    return {**state, SEED: np.frombuffer(seed, np.uint8)}


def inputs_of(round_id: RoundId, base: bytes, seed: bytes, answers: Mapping[str, Verdict]) -> str:
    """A digest of the set of updates, the base and the seed: what a model with noise follows from.

    Args:
        round_id: of the round.
        base: the digest of the model that the updates began from.
        seed: of the noise.
        answers: of the updates that count, by device.
    """
    updates = sorted((device, answer.digest.hex()) for device, answer in answers.items())
    return digest_of([*round_id, base.hex(), seed.hex(), updates])
