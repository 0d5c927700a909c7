"""Whether the sum is exact with each number of lost devices, in every phase, and there is none beyond it.

The states are immutable, so the phases before a loss are computed once, and the cohort forks there. Keys that
two devices have agreed on once are kept: they are the same in each fork.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np

from benchmarks.masked_cohort import PHASES, Cohort, terms_of
from fedge.masking import ciphers
from fedge.masking.refusals import Why
from fedge.masking.server_state import Failed, Phase, Summed
from fedge.masking.thresholds import COMPLETE


@dataclass(frozen=True)
class Outcome:
    """What an attempt with losses came to."""

    devices: int
    phase: Phase
    lost: int
    summed: bool
    wrong: str
    """What is not as it must be; empty: nothing."""


class Agreed:
    """`ciphers.agreed`, which computes each key once."""

    def __init__(self) -> None:
        self._agreed = ciphers.agreed
        self._kept: dict[tuple[bytes, bytes, bytes], bytes | None] = {}

    def __call__(
        self, secret: bytes, others: Sequence[tuple[bytes, bytes]], size: int = ciphers.KEY_BYTES
    ) -> list[bytes | None]:
        """The keys, those that are new computed. What a key is for tells its size."""
        new = [other for other in others if (secret, *other) not in self._kept]
        for other, key in zip(new, self._agreed(secret, new, size), strict=True):
            self._kept[secret, *other] = key
        return [self._kept[secret, *other] for other in others]


def outcomes(devices: int, seed: int = 0) -> list[Outcome]:
    """Lose 0, 1, 2, … devices in each phase, drawn at random, up to one more than the threshold allows."""
    with patch.object(ciphers, "agreed", Agreed()):
        return list(_outcomes(devices, seed))


def _outcomes(devices: int, seed: int) -> Iterator[Outcome]:
    rng = np.random.default_rng((seed, devices))
    cohort = Cohort(terms_of(devices), seed)
    mail = cohort.announcements()
    for at, phase in enumerate(PHASES):
        for lost in range(devices - cohort.terms.threshold + 2):
            forked = cohort.fork()
            gone = {cohort.terms.cohort[place] for place in rng.permutation(devices)[:lost]}
            forked.answer(mail, gone)
            found = forked.end_phase()
            for _ in PHASES[at + 1 :]:
                if not isinstance(found, Summed | Failed):
                    forked.answer(found, gone)
                    found = forked.end_phase()
            assert isinstance(found, Summed | Failed)
            yield Outcome(devices, phase, lost, isinstance(found, Summed), _wrong(forked, phase, gone, found))
        cohort.answer(mail, ())
        following = cohort.end_phase()
        mail = [] if isinstance(following, Summed | Failed) else following


def _wrong(cohort: Cohort, phase: Phase, gone: set[str], found: Summed | Failed) -> str:
    """What is not as it must be.

    Above 64 devices a loss of up to a tenth is borne but for a probability of 2⁻²⁰. Beyond that the attempt
    may also end because too many neighbours are lost, and then it has to end for this reason. In the last
    phase t devices have agreed on the survivors already, and above 64 fewer than t can have all shares.
    """
    terms = cohort.terms
    left, devices = len(terms.cohort) - len(gone), len(terms.cohort)
    if isinstance(found, Failed):
        if found.refusal.why is not Why.TOO_FEW:
            return f"failed: {found.refusal.detail}"
        borne = left >= terms.threshold and (devices <= COMPLETE or len(gone) <= terms.dropouts)
        return "failed with enough devices" if borne else ""
    last = phase is Phase.UNMASK and devices > COMPLETE
    if left < terms.threshold and not last:
        return "a sum of too few devices"
    late = phase in (Phase.CONSISTENCY, Phase.UNMASK)
    names = terms.cohort if late else tuple(name for name in terms.cohort if name not in gone)
    if found.devices != names or cohort.refused:
        return "a sum of other devices, or a refusal"
    return "" if (found.levels == cohort.expected(names)).all() else "another sum"
