"""Groups of a cohort, each with masks, a threshold and a ring of its own; robust rules over their means.

Masks hide whether an update lies, so a masked liar is bounded by the range of the sum alone. With G groups
the server learns G sums, and a rule that stands f of G liars is applied to the G means: f liars spoil at
most f groups, wherever they are (the argument of bucketing, Karimireddy, He and Jaggi 2022,
https://arxiv.org/abs/2006.09365, Lemma 1). The median of each coordinate needs f < G / 2, Krum 2 f + 3 ≤ G.
The price: a group hides a device among fewer, and colluders may be many in one group.

**Who is in which group** must not be chosen by anyone. Each device draws 32 random bytes for the round, which
its promise brings, and the groups of each attempt follow from the digest of all of them. A device checks that
its own bytes are among them; they alone make the result random, whatever the others are. The server can
choose among the results that it gets by leaving devices out or by its own devices' bytes: each try takes
`fedge.masking.graph.STRETCH` hashes, and `most_groups` allows for 2⁴⁰ tries. The call to an attempt carries
all of these bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.contribution import LANES, Contribution, order
from fedge.algorithms.protocols import Combined, Rule
from fedge.masking import statements
from fedge.masking.graph import shuffled
from fedge.masking.keys import ring_for
from fedge.masking.messages import LEAST_DEVICES, Terms
from fedge.masking.round_messages import DRAWN_BYTES
from fedge.masking.server_state import Summed
from fedge.masking.thresholds import (
    GRINDING_BITS,
    SECURITY_BITS,
    at_most,
    colluders_borne,
    least_threshold,
)
from fedge.wire.topics import lane_of


def groups_of(terms: Terms, groups: int, drawn: Mapping[str, bytes]) -> list[tuple[str, ...]]:
    """The groups of an attempt, as server and devices find them.

    Args:
        terms: of the whole cohort, or of one group with the whole cohort in its place: what differs between
            groups does not count.
        groups: G.
        drawn: the random bytes of each device of the cohort.

    Raises:
        ValueError: as `seed_of`, or fewer than three devices for each group.
    """
    same = {"threshold": len(terms.cohort), "colluders": 0, "dropouts": 0}
    seed = seed_of(terms.model_copy(update=same), drawn)
    return divided(terms.cohort, groups, seed)


def seed_of(terms: Terms, drawn: Mapping[str, bytes]) -> bytes:
    """The seed of the groups of an attempt.

    Args:
        terms: of the whole cohort; they stand for the round, the attempt and the model.
        drawn: the random bytes of each device of the cohort.

    Raises:
        ValueError: bytes are missing, of another length or of other devices, or two devices have the same:
            one of them has copied.
    """
    if drawn.keys() != set(terms.cohort) or any(len(each) != DRAWN_BYTES for each in drawn.values()):
        raise ValueError(f"each device of the cohort, and no other, draws {DRAWN_BYTES} bytes")
    if len(set(drawn.values())) != len(drawn):
        raise ValueError("two devices have drawn the same bytes")
    each = b"".join(drawn[name] for name in terms.cohort)
    return sha256(statements.purpose(statements.digest(terms), b"groups", each)).digest()


def split(cohort: Sequence[str], least: int, seed: bytes) -> list[tuple[str, ...]]:
    """As many groups of at least so many devices as there can be, of sizes that differ by one at most.

    Args:
        cohort: the devices, in rising order.
        least: m, 3 or more.
        seed: as `seed_of` returns it.

    Raises:
        ValueError: the cohort is smaller than one group.
    """
    if not LEAST_DEVICES <= least <= len(cohort):
        raise ValueError(f"groups of {least} devices or more, of {len(cohort)}")
    return divided(cohort, len(cohort) // least, seed)


def divided(cohort: Sequence[str], groups: int, seed: bytes) -> list[tuple[str, ...]]:
    """So many groups, of sizes that differ by one at most; arguments as for `split`.

    Raises:
        ValueError: fewer than three devices for each group.
    """
    if groups < 1 or len(cohort) < groups * LEAST_DEVICES:
        raise ValueError(f"{groups} groups of {LEAST_DEVICES} devices or more, of {len(cohort)}")
    mixed = shuffled(cohort, seed, b"fedge masking groups")
    return [tuple(sorted(mixed[at::groups])) for at in range(groups)]


def terms_of_group(terms: Terms, group: tuple[str, ...], threshold: int | None = None) -> Terms:
    """The terms of a group: those of the whole, for its devices.

    Args:
        terms: of the whole cohort.
        group: its devices, in rising order.
        threshold: t of the group; None: the least that devices accept.
    """
    devices = len(group)
    if threshold is None:
        threshold = least_threshold(devices, lying=terms.server == "lying")
    part = {
        "cohort": group,
        "threshold": threshold,
        "colluders": -(-terms.colluders * devices // len(terms.cohort)),
        "dropouts": -(-terms.dropouts * devices // len(terms.cohort)),
    }
    return Terms.model_validate({**terms.model_dump(), **part})


def most_groups(devices: int, colluders: int, *, lying: bool = True) -> int:
    """The largest G for which no group has more colluders than its threshold bears, but for 2⁻⁴⁰.

    With a server that is only curious, a group bears fewer than its threshold. The tail is that of the
    hypergeometric distribution, by the union over all groups (`fedge.masking.thresholds.at_most`).

    Args:
        devices: n, of the cohort; against a server that lies, the fewest that a device accepts: it can leave
            honest devices out, and name ones that there are not.
        colluders: how many of them may help the server.
        lying: whether the server may lie, and so try 2⁴⁰ groupings.
    """
    for groups in range(devices // LEAST_DEVICES, 1, -1):
        sizes = {devices // groups, -(-devices // groups)}
        if all(_holds(devices, colluders, size, lying=lying) for size in sizes):
            return groups
    return 1


def _holds(devices: int, colluders: int, size: int, *, lying: bool) -> bool:
    threshold = least_threshold(size, lying=lying)
    borne = min(colluders_borne(size, threshold), threshold - 1) if lying else threshold - 1
    bits = SECURITY_BITS + (GRINDING_BITS if lying else 0)
    return at_most(devices, colluders, size, borne + 1, bits)


@dataclass
class Means:
    """The means of groups, as a rule reads them: each counts the same, whatever its weight is."""

    contributions: tuple[Contribution, ...]
    size: int

    def __len__(self) -> int:
        return len(self.contributions)

    def lanes(self, lanes: range = LANES) -> Iterator[Contribution]:
        """In the fixed order."""
        return (each for each in self.contributions if lane_of(each.device) in lanes)


def mean_of(terms: Terms, summed: Summed, base: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of a group: base + s Σ q / Σ n_k of shape (p,), with the step s = clip / L, rounded once."""
    step = terms.clip / ring_for(terms).levels
    found: NDArray[np.float64] = np.add(base, summed.levels * (step / summed.weight), dtype=np.float64)
    return found.astype(np.float32)


def combined(rule: Rule, groups: Sequence[tuple[Terms, Summed]], base: NDArray[np.float32]) -> Combined:
    """What a robust rule makes of the groups' means.

    A group is told by its first device. A group whose attempt failed is not among them. The rule's state of
    other rounds is not used.

    Args:
        rule: its `fewest` says of how many groups it keeps its promise: 2 f + 1 for the median of each
            coordinate, 2 f + 3 for Krum.
        groups: the terms and the sum of each.
        base: what the updates are changes of, of shape (p,).

    Raises:
        ValueError: fewer groups than the rule needs, groups with a device in common, or another size.
    """
    if len(groups) < rule.fewest:
        raise ValueError(f"{len(groups)} groups, and {rule.version} needs {rule.fewest}: smaller groups")
    members = [name for terms, _ in groups for name in terms.cohort]
    if len(set(members)) != len(members) or any(terms.size != len(base) for terms, _ in groups):
        raise ValueError("the groups have devices in common, or are of another model")
    return robust(rule, {terms.cohort[0]: mean_of(terms, summed, base) for terms, summed in groups}, base)


def robust(rule: Rule, means: Mapping[str, NDArray[np.float32]], base: NDArray[np.float32]) -> Combined:
    """What a rule makes of the means of groups, of shape (p,) each, by one device of each group."""
    found = [Contribution(device, 1, mean) for device, mean in means.items()]
    ordered = tuple(sorted(found, key=lambda each: order(each.device)))
    return rule.aggregate(Means(ordered, len(base)), base, rule.init(len(base)))
