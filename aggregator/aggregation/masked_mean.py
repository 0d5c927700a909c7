"""The aggregate of a masked round, from its sums in the ledger: a mean, or a rule of groups' means."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation import server_state
from aggregator.aggregation.job import ClosingJob
from aggregator.aggregation.past import Past
from aggregator.core.parts import Part, blaming, require_vector, unchanged
from aggregator.ledger.records import GroupSum, MaskedSum
from fedge.algorithms.protocols import State
from fedge.algorithms.registry import RULES, SERVER
from fedge.algorithms.rules.bounds import distance
from fedge.errors import DamagedState
from fedge.masking.groups import robust
from fedge.masking.noise import NoisyLevels
from fedge.privacy.charges import digest_of
from fedge.wire.freshness import RoundId

Vector = NDArray[np.float32]

RULE = "masked-mean/1"
"""Name and version of the rule that closes masked rounds without groups."""
PRIVATE = "masked-private-mean/1"
"""The same where each device has added its share of distributed noise: the sum is divided by the declared
number of devices, and is paid for."""
GROUPS = "masked-groups/1"
"""The same with groups; after it comes the rule that their means are combined by."""


@dataclass(frozen=True, eq=False)
class Made:
    """The aggregate of a masked round."""

    vector: Vector
    """Of shape (p,)."""
    counted: Mapping[str, float] = field(default_factory=dict)
    """With groups: by device, the part of its group's mean that counted."""
    distances: Mapping[str, float] = field(default_factory=dict)
    """With groups: by device, how far its group's mean is from the aggregate."""


def rule_of(part: Part, *, grouped: bool) -> str:
    """Name and version of what closes a masked round, as the ledger names it."""
    return f"{GROUPS} {part.made(RULES).version}" if grouped else RULE


def is_masked(rule: str) -> bool:
    """Whether a closed round's rule is one of masked rounds."""
    return rule in (RULE, PRIVATE) or rule.startswith(GROUPS)


def as_declared(found: MaskedSum, shares: NoisyLevels) -> MaskedSum | str:
    """A noised sum as it counts: divided by the declared number of devices, whoever survived.

    A text says why it must not be released: its noise, or what one device changes, is not what was declared.
    """
    if found.levels is None:
        return found
    if not shares.threshold_needed <= len(found.devices) <= shares.devices:
        return (
            f"{len(found.devices)} devices are in the sum, and {shares.threshold_needed} to {shares.devices} "
            "are declared: it has not the noise that was promised, and is not released"
        )
    return replace(found, weight=shares.devices)


def inputs_of(round_id: RoundId, base: bytes, found: MaskedSum) -> str:
    """A digest of what the model of a noised sum follows from, for the budget."""
    assert found.levels is not None
    levels = hashlib.sha256(found.levels.astype("<i8").tobytes()).hexdigest()
    return digest_of([*round_id, base.hex(), list(found.devices), levels])


def inputs_of_unused(round_id: RoundId, base: bytes, cohort: Sequence[str]) -> str:
    """The same of a noised sum of which no model is made, although devices have revealed their shares."""
    return digest_of([*round_id, base.hex(), list(cohort), None])


def made_of(part: Part, found: MaskedSum, base: Vector) -> Made:
    """The aggregate of a round's sums.

    Args:
        part: the rule of the groups' means; the mean without groups.
        found: the sums.
        base: the model that the updates are changes of, of shape (p,).

    Raises:
        DamagedState: a sum is of another length.
        PartError: the rule fails.
    """
    if not found.groups:
        return Made(mean_of(found, found, base))
    means = {group.devices[0]: mean_of(found, group, base) for group in found.groups}
    rule = part.made(RULES)
    who = f"the rule {rule.version}"
    with blaming(who, "the groups of a masked round", "or set another [rule] in federation.toml"):
        combined = robust(rule, means, unchanged(base))
        require_vector(who, combined.vector, len(base))
    counted, distances = dict[str, float](), dict[str, float]()
    for group in found.groups:
        first = group.devices[0]
        far = distance(combined.vector, means[first])
        for device in group.devices:
            counted[device], distances[device] = float(combined.counted.get(first, 1.0)), far
    return Made(combined.vector, counted, distances)


def mean_of(terms: MaskedSum, found: MaskedSum | GroupSum, base: Vector) -> Vector:
    """The model plus the mean of the changes, of shape (p,): float64, rounded once to float32.

    Args:
        terms: say what a level is.
        found: the sum, of the cohort or of a group.
        base: the model, of shape (p,).

    Raises:
        DamagedState: the sum is of another length.
    """
    assert found.levels is not None
    if found.levels.shape != base.shape:
        raise DamagedState(f"a masked sum has {found.levels.size} entries, and the model {base.size}")
    step = terms.clip / ((1 << (terms.value_bits - 1)) - 1)
    change = step * (found.levels.astype(np.float64) / found.weight)
    return (base.astype(np.float64) + change).astype(np.float32)


def stepped_from(past: Past, job: ClosingJob, base: Vector, aggregate: Vector) -> tuple[Vector, State]:
    """The next model, which the server optimizer makes of the aggregate, and its state."""
    server = job.parts.server.made(SERVER)
    state = past.state(server, len(base))
    return server_state.step(job.round, job.parts.server, server, base, aggregate, state, 1.0)
