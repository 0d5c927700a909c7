"""A closed round computed once more from the ledger alone: is its model the same, bit for bit (law 5)?"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aggregator import survey
from aggregator.averaging import Updates, admitted, bounded_mean, mean_of
from aggregator.closing import Vector, first_weights, model_message, surveyed
from aggregator.ledger.reading import LedgerReader, read_only
from aggregator.rules import bounds, mean
from aggregator.rules.bounds import Factors
from aggregator.survey import Unmeasured
from fedge import __version__
from fedge.codecs import CODECS
from fedge.errors import DamagedState, DataError
from fedge.freshness import RoundId
from fedge.messages import MAX_SIZE, Model, Task, unpack


@dataclass(frozen=True)
class Replayed:
    """What a round's updates give, beside what was announced."""

    round: RoundId
    kind: str
    rule: str
    """Name and version of the rule that closed it, as in `mean/1`."""
    announced: bytes
    """Digest of the model that the round closed with."""
    computed: bytes
    """Digest of the model that its updates give."""
    samples: Mapping[str, int]
    """n_k of each device that counts, in the order of the sum, as it says it."""
    frozen: bool = True
    """Of a survey: whether the frozen layers are those of the task that was announced, to the bit."""

    @property
    def same(self) -> bool:
        """Whether the two models are the same to the bit, and the frozen layers of a survey too."""
        return self.announced == self.computed and self.frozen


def replay(path: Path, number: int, seed: int) -> Replayed:
    """Compute a round of the newest generation again; safe while the aggregator runs.

    Args:
        path: the ledger's file; nothing in it is changed.
        number: of the round.
        seed: of the federation: the first weights, which the survey closes with, are a function of it.

    Raises:
        DataError: there is no such round, it is still open, what it was computed of has been freed, or this
            program does not know the rule that closed it.
        StateError: there is no ledger, it cannot be read, or it is damaged.
    """
    with read_only(path) as ledger:
        life = ledger.life()
        digest = ledger.first_task(life.generation) if life else None
        if life is None or digest is None:
            raise DataError(f"{path}: no round has been opened yet")
        round_id = RoundId(life.generation, number)
        kind, announced = _kept(ledger, path, round_id)
        task = unpack(ledger.content(digest), Task, max_bytes=MAX_SIZE)
        rule = _known_rule(ledger, path, round_id)
        frozen = True
        if rule in survey.RULES:
            found = surveyed(ledger, round_id, task, rule=rule)
            if isinstance(found, Unmeasured):
                raise DamagedState(f"{path}: the surveys of round {round_id} do not make a model: {found}")
            vector = first_weights(found, seed, life.generation)
            frozen = _announced_task(ledger, life.generation).network == found.network
        elif rule == mean.RULE:
            vector, _ = mean_of(ledger, round_id, task.network.schema.size)
        else:
            base = _base(ledger, path, round_id, task.network.schema.size)
            updates = Updates(ledger, round_id, len(base))
            vector = bounded_mean(updates, base, _factors(ledger, path, round_id)).vector
        computed = hashlib.sha256(model_message(round_id, vector)).digest()
        samples = {device: answer.samples for device, answer in admitted(ledger, round_id).items()}
        return Replayed(round_id, kind, rule, announced, computed, samples, frozen)


def _announced_task(ledger: LedgerReader, generation: int) -> Task:
    """The task with the frozen layers that the devices were told."""
    digest = ledger.newest("task", generation)
    assert digest is not None
    return unpack(ledger.content(digest), Task, max_bytes=MAX_SIZE)


def _known_rule(ledger: LedgerReader, path: Path, round_id: RoundId) -> str:
    """The rule that closed a round, if it is one of ours: another would give another model."""
    rule, known = ledger.rule(round_id), (mean.RULE, bounds.RULE, *survey.RULES)
    if rule is None or rule not in known:
        raise DataError(
            f"{path}: round {round_id} was closed by the rule {rule!r}, and fedge {__version__} knows only "
            f"{', '.join(known)}: replay it with the version that closed it, or a newer one"
        )
    return rule


def _factors(ledger: LedgerReader, path: Path, round_id: RoundId) -> Factors:
    """The factors that a round was closed with: its own, whatever the settings have become since."""
    summary = ledger.summary(round_id)
    try:
        return Factors(float(summary["clip_norm"]), float(summary["max_weight"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedState(f"{path}: is damaged (the factors of round {round_id}: {error!r})") from None


def _base(ledger: LedgerReader, path: Path, round_id: RoundId, size: int) -> Vector:
    """The model that the updates of a round began from, of shape (size,): that of the round before."""
    digest = ledger.model(round_id._replace(round=round_id.round - 1))
    if digest is None:
        raise DamagedState(f"{path}: is damaged (round {round_id} is closed, and the one before is not)")
    message = unpack(ledger.content(digest), Model, max_bytes=MAX_SIZE)
    return CODECS[message.codec].decode(message.body, size)


def _kept(ledger: LedgerReader, path: Path, round_id: RoundId) -> tuple[str, bytes]:
    """The kind of a closed round, and the digest of its model."""
    kept = ledger.kept_rounds(round_id.generation)
    if round_id.round in kept:
        return kept[round_id.round]
    last = ledger.last_closed(round_id.generation)
    if last is None or round_id > last:
        known = f"the last closed one is {last}" if last else "none has been closed yet"
        raise DataError(f"{path}: round {round_id} is not closed; {known}")
    which = f"rounds {min(kept)} to {max(kept)} are kept" if kept else "none is kept"
    raise DataError(
        f"{path}: what round {round_id} was computed of is not there or has been freed; {which} "
        "([state] keep_rounds and keep_bytes)"
    )
