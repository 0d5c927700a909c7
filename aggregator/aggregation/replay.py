"""Compute a closed round again from the ledger alone, and compare the models bit for bit (law 5)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation import codings, given, masked_mean, server_state, survey
from aggregator.aggregation.admitted_surveys import surveyed
from aggregator.aggregation.beginnings import RULE, begin_with, spans
from aggregator.aggregation.models import first_clusters, first_vectors, first_weights
from aggregator.aggregation.recomputation import (
    hands_on,
    made_by,
    model_of,
    models,
    parts_of,
    unknown_rule,
)
from aggregator.aggregation.survey import Unmeasured
from aggregator.aggregation.updates import admitted
from aggregator.core.parts import Parts
from aggregator.ledger.layout import GIVEN, KEPT
from aggregator.ledger.reading import LedgerReader, read_only
from aggregator.ledger.records import Beginning
from fedge.algorithms.protocols import WEIGHTS
from fedge.algorithms.registry import SERVER
from fedge.errors import DamagedState, DataError
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.task import Task
from fedge.wire.models import model_message


@dataclass(frozen=True)
class Replayed:
    """The model that a round's updates give, beside the announced one."""

    round: RoundId
    kind: str
    rule: str
    """Name and version of the rule that closed it, as in `mean/1`."""
    announced: bytes
    """Digest of the model that the round closed with."""
    computed: bytes
    """Digest of the model that its updates give."""
    samples: Mapping[str, int]
    """n_k of each admitted device, as it told it, in the order of the sum."""
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
        seed: of the federation, which determines the first weights that a survey closes with.

    Raises:
        DataError: there is no such round, it is still open, its updates have been freed, or this program
            does not have the rule that closed it.
        StateError: there is no ledger, it cannot be read, or it is damaged.
    """
    with read_only(path) as ledger:
        meta = ledger.meta()
        digest = ledger.first_task(meta.generation) if meta else None
        if meta is None or digest is None:
            raise DataError(f"{path}: no round has been opened yet")
        round_id = RoundId(meta.generation, number)
        beginning = ledger.beginning(meta.generation) if number == 0 else None
        if beginning is not None:
            return _begun(ledger, path, round_id, beginning)
        if number == 0 and ledger.rule(round_id) == given.RULE:
            return _given(ledger, path, round_id, seed)
        if ledger.only_measured(round_id):
            before = round_id._replace(round=number - 1)
            raise DataError(
                f"{path}: round {round_id} only measured the model of round {before}, and made none that "
                "could be computed again"
            )
        kind, announced = _kept(ledger, path, round_id)
        _require_all_there(ledger, path, round_id)
        task = unpack(ledger.content(digest), Task, max_bytes=MAX_SIZE)
        rule = ledger.rule(round_id) or ""
        frozen = True
        if rule in survey.RULES:
            found = surveyed(ledger, round_id, task, rule=rule)
            if isinstance(found, Unmeasured):
                raise DamagedState(f"{path}: the surveys of round {round_id} do not make a model: {found}")
            vector = first_weights(found, seed, meta.generation)
            vectors = first_vectors(hands_on(ledger, round_id), len(vector))
            vectors |= first_clusters(models(ledger, round_id), found, seed, meta.generation)
            frozen = _announced_task(ledger, meta.generation).network == found.network
        elif masked_mean.is_masked(rule):
            vector, vectors = _masked(ledger, round_id, task), {}
        else:
            _require_parts(ledger, path, round_id)
            made = made_by(ledger, round_id, task.network.schema.size)
            opened_with = parts_of(ledger, round_id).seed or 0
            announced_as = {WEIGHTS: made.vector, **made.vectors}
            vectors = codings.again(ledger, round_id, announced_as, opened_with)
            vector = vectors.pop(WEIGHTS)
        computed = hashlib.sha256(model_message(round_id, vector, vectors)).digest()
        samples = {device: answer.samples for device, answer in admitted(ledger, round_id).items()}
        return Replayed(round_id, kind, rule, announced, computed, samples, frozen)


def _masked(ledger: LedgerReader, round_id: RoundId, task: Task) -> NDArray[np.float32]:
    """The weights that a masked round makes of its sum, of shape (p,); without one, those it began with."""
    size = task.network.schema.size
    base = model_of(ledger, round_id._replace(round=round_id.round - 1), size)
    found = ledger.masked_sum(round_id)
    if found is None:
        raise DataError(f"the sum of round {round_id} is no longer kept ([state] keep_rounds and keep_bytes)")
    if found.levels is None:
        raise DataError(f"round {round_id} has no sum: it closed with the model that it began with")
    parts = Parts.read(ledger.parts(round_id))
    known = masked_mean.rule_of(parts.rule, grouped=bool(found.groups))
    if (named := ledger.rule(round_id)) not in (known, masked_mean.PRIVATE):
        raise DataError(unknown_rule(round_id, named))
    part = parts.server
    server = part.made(SERVER)
    begun = server_state.before(ledger, round_id, part, server, size)
    made = masked_mean.made_of(parts.rule, found, base).vector
    return server_state.step(round_id, part, server, base, made, begun, 1.0)[0]


def _announced_task(ledger: LedgerReader, generation: int) -> Task:
    """The announced task, with its frozen layers."""
    digest = ledger.newest("task", generation)
    assert digest is not None
    return unpack(ledger.content(digest), Task, max_bytes=MAX_SIZE)


def _begun(ledger: LedgerReader, path: Path, round_id: RoundId, beginning: Beginning) -> Replayed:
    """The round 0 of a generation that began with a kept model, or with rounds computed again."""
    announced, rule = ledger.model_of(round_id), ledger.rule(round_id)
    if announced is None:
        raise DataError(f"{path}: round {round_id} is no longer kept ([state] keep_rounds and keep_bytes)")
    if rule != RULE:
        raise DataError(f"{path}: {unknown_rule(round_id, rule)}")
    _require_all_there(ledger, path, round_id)
    try:
        begun = begin_with(ledger, beginning)
    except DataError as error:
        raise DataError(f"{path}: round {round_id} cannot be computed again: {error}") from error
    vectors = {**first_vectors(hands_on(ledger, round_id), len(begun.vector)), **begun.clusters}
    computed = hashlib.sha256(model_message(round_id, begun.vector, vectors)).digest()
    return Replayed(round_id, KEPT, RULE, announced, computed, begun.samples)


def _given(ledger: LedgerReader, path: Path, round_id: RoundId, seed: int) -> Replayed:
    """The round 0 of a generation whose columns stand in the settings, so that nothing was surveyed."""
    announced = ledger.model_of(round_id)
    if announced is None:
        raise DataError(f"{path}: round {round_id} is no longer kept ([state] keep_rounds and keep_bytes)")
    vector = first_weights(_announced_task(ledger, round_id.generation), seed, round_id.generation)
    vectors = first_vectors(hands_on(ledger, round_id), len(vector))
    computed = hashlib.sha256(model_message(round_id, vector, vectors)).digest()
    return Replayed(round_id, GIVEN, given.RULE, announced, computed, {})


def _require_all_there(ledger: LedgerReader, path: Path, round_id: RoundId) -> None:
    """Raise a DataError if a device's part of a round was removed by request."""
    if (gone := ledger.forgotten(round_id)) > 0:
        of = "one device" if gone == 1 else f"{gone} devices"
        raise DataError(
            f"{path}: round {round_id} cannot be computed again, because the contribution of {of} was "
            "removed from it (`fedge forget`); nothing is damaged"
        )


def _require_parts(ledger: LedgerReader, path: Path, round_id: RoundId) -> None:
    """Raise a DataError that names the ledger unless this program has the parts that closed a round."""
    try:
        parts_of(ledger, round_id)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _kept(ledger: LedgerReader, path: Path, round_id: RoundId) -> tuple[str, bytes]:
    """The kind of a closed round, and the digest of its model."""
    kept = ledger.kept_rounds(round_id.generation)
    if round_id.round in kept:
        return kept[round_id.round]
    last = ledger.last_closed(round_id.generation)
    if last is None or round_id > last:
        known = f"the last closed one is {last}" if last else "none has been closed yet"
        raise DataError(f"{path}: round {round_id} is not closed; {known}")
    which = f"kept: {spans(list(kept))}" if kept else "none is kept"
    raise DataError(
        f"{path}: the updates of round {round_id} are not in the ledger, or have been freed; {which} "
        "([state] keep_rounds and keep_bytes)"
    )
