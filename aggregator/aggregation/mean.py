"""The mean of a round's admitted updates, read from the ledger one at a time.

First their distances from the base are measured, then they are added up within the bounds that follow from
these (`fedge.algorithms.rules.bounds`). If what comes of it is not usable, those who caused that are found.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.probes import Trial
from aggregator.core.verdicts import Answer
from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import LedgerReader
from fedge.algorithms.registry import CODECS
from fedge.algorithms.rules.bounds import Bounds, Factors, bounds, clipped, distance
from fedge.algorithms.rules.mean import Contribution, finish, order, partial
from fedge.errors import DamagedState
from fedge.wire.frames import Refused, join
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update

Vector = NDArray[np.float32]

SURVEY_MARK = b"\xa4type\xa6survey"
"""How msgpack spells the type of a survey, at the head of its map."""


@dataclass(frozen=True)
class Mean:
    """The mean of a round's updates, and what each counted with."""

    vector: Vector
    devices: tuple[str, ...]
    """Whose updates these are, in the order of the sum."""
    norms: tuple[float, ...]
    """‖w_k - base‖ of each."""
    samples: tuple[int, ...]
    """n_k of each, as it says."""
    bounds: Bounds


@dataclass(frozen=True)
class Unusable:
    """The mean of the admitted updates is not usable; without those of `devices` it is."""

    devices: tuple[str, ...]
    """In the order of the sum; never empty."""

    def __str__(self) -> str:
        return "the mean of the updates is not finite, or computes nothing finite on the probe inputs"


def read_update(ledger: LedgerReader, device: str, digest: bytes) -> Update | Survey | Refused:
    """Put an update's frames together again, check its digest, and read it.

    Raises:
        ProtocolError: the bytes are no update and no survey.
    """
    whole = join(digest, ledger.pieces(device, digest))
    if isinstance(whole, Refused):
        return whole
    if SURVEY_MARK in whole[:64]:
        return unpack(whole, Survey, max_bytes=MAX_SIZE)
    return unpack(whole, Update, max_bytes=MAX_SIZE)


def admitted(ledger: LedgerReader, round_id: RoundId, without: Collection[str] = ()) -> dict[str, Answer]:
    """The answers of the devices that count in a round, in the order of the sum; some may be left out."""
    return {
        device: answer
        for device, answer in ledger.answers(round_id).items()
        if answer.verdict == "admitted" and device not in without
    }


def read(ledger: LedgerReader, device: str, answer: Answer) -> Update | Survey:
    """What a device was told counts.

    Raises:
        DamagedState: it is not there any more, or another.
    """
    message = read_update(ledger, device, answer.digest)
    if isinstance(message, Refused):
        raise damaged(device, message.detail)
    return message


def damaged(device: str, found: str) -> DamagedState:
    """The error that a promise cannot be kept."""
    return DamagedState(f"{FILE} does not hold what {device} was told counts: {found}")


class Updates:
    """The admitted updates of one round: read anew, one at a time, whenever they are gone through.

    Args:
        ledger: where they lie.
        round_id: of which round.
        size: p, the length of their vectors.
        go_on: called before each update is read; what it raises ends the work.
        without: devices that are left out, as if they had never answered.
    """

    def __init__(
        self,
        ledger: LedgerReader,
        round_id: RoundId,
        size: int,
        go_on: Callable[[], None] = lambda: None,
        without: Collection[str] = (),
    ) -> None:
        self._ledger, self._round, self._size, self._go_on = ledger, round_id, size, go_on
        self.answers: Mapping[str, Answer] = admitted(ledger, round_id, without)
        """By device, in the order of the sum."""

    def vectors(self, without: Set[str] = frozenset()) -> Iterator[tuple[str, Vector]]:
        """Each device's vector of shape (p,), in the order of the sum.

        Raises:
            DamagedState: an admitted update is missing or damaged: without it the mean would be another one.
        """
        for device, answer in self.answers.items():
            if device in without:
                continue
            self._go_on()
            update = read(self._ledger, device, answer)
            if not isinstance(update, Update) or update.samples != answer.samples:
                raise damaged(device, f"another update, for round {self._round}")
            yield device, CODECS.make(update.codec).decode(update.body, self._size)


def mean_of(
    ledger: LedgerReader,
    round_id: RoundId,
    size: int,
    go_on: Callable[[], None] = lambda: None,
    without: Collection[str] = (),
) -> tuple[Vector, int]:
    """The mean of the admitted updates of shape (size,) without bounds (rule mean/1), and Σ n_k.

    Raises:
        DamagedState: an admitted update is missing or damaged.
    """
    updates = Updates(ledger, round_id, size, go_on, without)
    return finish(
        partial(Contribution(d, updates.answers[d].samples, vector) for d, vector in updates.vectors())
    )


def bounded_mean(updates: Updates, base: Vector, factors: Factors) -> Mean:
    """The mean within its bounds (rule mean/2), in two passes; `base` of shape (p,) is what they began from.

    Raises:
        DamagedState: an admitted update is missing or damaged.
    """
    norms = {device: distance(base, vector) for device, vector in updates.vectors()}
    return _mean(updates, base, factors, norms)


def usable_mean(updates: Updates, base: Vector, factors: Factors, trial: Trial) -> Mean | Unusable:
    """As `bounded_mean`; if that is not usable, who caused it: a function of the set of updates.

    Those whose update, as it counts, is unusable by itself; if the mean of the others is not usable either,
    more of them, the longest difference first (of equal ones the last in the order of the sum), until it is.

    Raises:
        DamagedState: an admitted update is missing or damaged.
    """
    mean = bounded_mean(updates, base, factors)
    if trial.passes(mean.vector):
        return mean
    norms = dict(zip(mean.devices, mean.norms, strict=True))
    scales = dict(zip(mean.devices, mean.bounds.scales, strict=True))
    causes = {d for d, w in updates.vectors() if not trial.passes(clipped(base, w, scales[d]))}
    others = sorted(norms.keys() - causes, key=lambda device: (norms[device], order(device)))
    if not causes:
        causes.add(others.pop())
    while others:
        known = {device: norms[device] for device in mean.devices if device not in causes}
        if trial.passes(_mean(updates, base, factors, known).vector):
            break
        causes.add(others.pop())
    return Unusable(tuple(device for device in mean.devices if device in causes))


def _mean(updates: Updates, base: Vector, factors: Factors, norms: Mapping[str, float]) -> Mean:
    """The mean of the updates whose norms these are, in the order of the sum."""
    samples = tuple(updates.answers[device].samples for device in norms)
    found = bounds(tuple(norms.values()), samples, factors)
    counts = dict(zip(norms, zip(found.scales, found.weights, strict=True), strict=True))

    def contributions() -> Iterator[Contribution]:
        for device, vector in updates.vectors(updates.answers.keys() - norms.keys()):
            scale, weight = counts[device]
            yield Contribution(device, weight, clipped(base, vector, scale))

    vector, _ = finish(partial(contributions()))
    return Mean(vector, tuple(norms), tuple(norms.values()), samples, found)
