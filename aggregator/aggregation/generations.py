"""Begin a generation: with a survey, or with a model of earlier rounds."""

import logging
import time

from aggregator.aggregation import given
from aggregator.aggregation.beginnings import RULE, begin_with
from aggregator.aggregation.given import with_columns
from aggregator.aggregation.model_fingerprint import model_fingerprint
from aggregator.aggregation.models import blob_of, first_vectors, first_weights
from aggregator.aggregation.rollback import Rollback, beginning_of, require_wishable, story
from aggregator.config import FederationSettings
from aggregator.core.presence import LeaderCheck
from aggregator.ledger.layout import GIVEN, KEPT, ORDER
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.writing import Ledger
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.task import Task
from fedge.wire.models import model_message

log = logging.getLogger("fedge.aggregator")


def begin(
    settings: FederationSettings,
    ledger: Ledger,
    name: bytes,
    generation: int,
    announced: Blob | None = None,
    order: str | None = None,
    model: Blob | None = None,
) -> LedgerMeta:
    """Begin a generation with a survey, or with the columns that the settings give.

    Args:
        settings: the configuration.
        ledger: where it is begun.
        name: the ledger's id.
        generation: its number.
        announced: the task at the broker, which must not be overwritten: a device that wakes up now has to
            be able to read it. None: the ledger's newest task is taken for it.
        order: the id of the order that wants it, which is stored; None: it has no order.
        model: the model at the broker, as with the task.
    """
    meta = LedgerMeta(name, generation, model_fingerprint(settings))
    data = pack(settings.task())
    before = ledger.meta()
    newest = _newest(ledger, "task", before.generation) if before is not None else None
    there = announced or newest
    if (columns := settings.columns) is not None:
        data = pack(with_columns(settings.task(), columns, settings.model.clip or None))
    task = blob_of(data, 1 - there.slot if there is not None else 0)
    with ledger.transaction():
        ledger.begin_generation(meta)
        ledger.save_mark(ORDER, order)
        ledger.save_content("task", RoundId(generation, 0), task, data)
        if columns is not None:
            old = _newest(ledger, "model", before.generation) if before is not None else None
            _save_first(settings, ledger, generation, task, data, model or old)
    return meta


def _save_first(
    settings: FederationSettings,
    ledger: Ledger,
    generation: int,
    task: Blob,
    data: bytes,
    old: Blob | None,
) -> None:
    """Save the first model of a generation without a survey, as the round 0 that has closed with it; `old` is
    the announced model, in whose slot it must not be."""
    here, parts, now = RoundId(generation, 0), settings.parts(), time.time()
    vector = first_weights(unpack(data, Task, max_bytes=MAX_SIZE), settings.federation.seed, generation)
    message = model_message(here, vector, first_vectors(parts.hands_on, len(vector)))
    model = blob_of(message, 1 - old.slot if old is not None else 0)
    ledger.save_content("model", here, model, message)
    ledger.save_round(here, GIVEN, 0, (), now)
    ledger.close_round(here, model.digest, 0, 0, {}, now, given.RULE, task.digest, parts.text())


def _newest(ledger: LedgerReader, kind: str, generation: int) -> Blob | None:
    """A generation's newest task or model with its slot; None: it has no slot."""
    digest = ledger.newest(kind, generation)
    slots = ledger.slots().items()
    return next((blob for (of, _), blob in slots if of == kind and blob.digest == digest), None)


def go_back(
    settings: FederationSettings,
    ledger: Ledger,
    before: LedgerMeta,
    generation: int,
    watch: LeaderCheck,
    wish: Rollback,
    order: str | None = None,
) -> LedgerMeta:
    """Begin a generation with a model of the kept rounds instead of a survey.

    Args:
        settings: the configuration.
        ledger: where it is begun.
        before: the ledger's generation so far.
        generation: the number of the new one.
        watch: what is announced at the broker, which must not be overwritten.
        wish: the model to go back to.
        order: the id of the order that wants it, which is stored; None: it has no order.

    Raises:
        ConfigError: there is no model yet, or it is one of another network.
        DataError: the requested model cannot be computed; the error says why, and which rounds are kept.
    """
    beginning = beginning_of(ledger, before, wish)
    require_wishable(settings, ledger, beginning, wish)
    begun = begin_with(ledger, beginning)
    meta = LedgerMeta(before.ledger, generation, model_fingerprint(settings))
    here = RoundId(generation, 0)
    parts = settings.parts()
    vectors = {**first_vectors(parts.hands_on, len(begun.vector)), **begun.clusters}
    data = model_message(here, begun.vector, vectors)
    task, model = _places(ledger, before, watch, begun.task_data, data)
    now = time.time()
    with ledger.transaction():
        ledger.begin_generation(meta)
        ledger.save_mark(ORDER, order)
        ledger.save_beginning(generation, beginning)
        ledger.save_content("task", here, task, begun.task_data)
        ledger.save_content("model", here, model, data)
        ledger.save_round(here, KEPT, 0, (), now)
        ledger.close_round(here, model.digest, 0, 0, {}, now, RULE, task.digest, parts.text())
    log.info("generation %d begins with %s", generation, story(beginning))
    return meta


def _places(
    ledger: LedgerReader, before: LedgerMeta, watch: LeaderCheck, task_data: bytes, model_data: bytes
) -> tuple[Blob, Blob]:
    """The slots of a new task and model: never the announced ones, which a device may be reading.

    If nothing is known to be announced, the ledger's newest are taken for it.
    """
    there = watch.task or _newest(ledger, "task", before.generation)
    task = blob_of(task_data, 0)
    if there is not None:
        task = there if there.digest == task.digest else blob_of(task_data, 1 - there.slot)
    old = watch.model or _newest(ledger, "model", before.generation)
    return task, blob_of(model_data, 1 - old.slot if old is not None else 0)
