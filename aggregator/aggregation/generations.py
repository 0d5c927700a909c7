"""How a generation begins: with a survey, or with a model of the rounds before it.

What weights mean may not change within a generation; in the ledger it stands as JSON, to see a change.
"""

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aggregator.aggregation.beginnings import RULE, begin_with, require_kept
from aggregator.aggregation.models import blob_of, first_vectors, model_message
from aggregator.aggregation.updates import admitted
from aggregator.config import FederationSettings
from aggregator.core.presence import LeaderCheck
from aggregator.core.quorum import FEWEST
from aggregator.ledger.layout import KEPT, ORDER
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.records import Beginning, Life
from aggregator.ledger.writing import Ledger
from fedge import __version__
from fedge.errors import ConfigError, DataError
from fedge.wire.capabilities import unknown_in_task
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.task import Task

log = logging.getLogger("fedge.aggregator")

MANY_ROUNDS = 3
"""More rounds than these, computed again without some devices, may be no good model (docs/operations.md)."""


@dataclass(frozen=True)
class Return:
    """To which kept model a new generation goes back, as an operator says it."""

    generation: int | None = None
    """None: the newest."""
    round: int | None = None
    """None: the newest closed one."""
    without: tuple[str, ...] = ()
    """Compute the rounds after that one again, without these devices."""
    survey_without: tuple[str, ...] = ()
    """Merge the surveys again, without these devices."""


def learnt(settings: FederationSettings) -> str:
    """What weights mean under this configuration."""
    return _meaning(settings.task())


def _meaning(task: Task) -> str:
    """What weights of a task mean, whatever its survey has said."""
    meaning: dict[str, Any] = {
        "features": task.features,
        "classes": task.classes,
        "targets": task.targets,
        "layers": [layer.model_dump(exclude_none=True) for layer in task.network.core],
    }
    if task.source is not None:  # a ledger knows no such key where none is named
        meaning["source"] = task.source
    return json.dumps(meaning)


def require_same(life: Life, settings: FederationSettings) -> None:
    """Raise a ConfigError that names the keys if weights meant something else when this life began."""
    before, now = json.loads(life.learnt), json.loads(learnt(settings))
    if before == now:
        return
    for side in (before, now):
        side["layers"] = side.get("layers", [])[:-1]  # the output layer follows from classes and targets
    changed = ", ".join(key for key in {**now, **before} if before.get(key) != now.get(key)) or "something"
    raise ConfigError(
        f"[model] {changed} changed since this ledger began; weights of one network mean nothing in another. "
        "Either change it back, or run once with --new-generation to begin anew with the devices following"
    )


def task_of(ledger: LedgerReader, digest: bytes) -> Task:
    """A task of the ledger.

    Raises:
        ConfigError: a newer program wrote it, with what this one cannot compute.
    """
    task = unpack(ledger.content(digest), Task, max_bytes=MAX_SIZE)
    if names := unknown_in_task(task):
        raise ConfigError(
            f"the task in this ledger has {', '.join(names)}, which this program (Fedge {__version__}) "
            "cannot do: install the newer one again, or restore the backup made before it was installed"
        )
    return task


def begin(
    settings: FederationSettings,
    ledger: Ledger,
    name: bytes,
    generation: int,
    announced: Blob | None = None,
    order: str | None = None,
) -> Life:
    """Begin a generation with a survey, in the ledger of that name; an order that it is by is noted.

    `announced`: the task at the broker. It is not written over: a device that wakes now must be able to read
    it. Where none is known to be announced, the ledger's newest is taken for it.
    """
    life = Life(name, generation, learnt(settings))
    data = pack(settings.task())
    before = ledger.life()
    newest = _newest(ledger, "task", before.generation) if before is not None else None
    there = announced or newest
    task = blob_of(data, 1 - there.slot if there is not None else 0)
    with ledger.transaction():
        ledger.begin_life(life)
        ledger.save_mark(ORDER, order)
        ledger.save_content("task", RoundId(generation, 0), task, data)
    return life


def _newest(ledger: LedgerReader, kind: str, generation: int) -> Blob | None:
    """Where the newest task or model of a generation lies, or is about to."""
    digest = ledger.newest(kind, generation)
    return next((blob for blob in ledger.slots().values() if blob.digest == digest), None)


def go_back(
    settings: FederationSettings,
    ledger: Ledger,
    before: Life,
    generation: int,
    watch: LeaderCheck,
    wish: Return,
    order: str | None = None,
) -> Life:
    """Begin a generation with a model of the kept rounds, in the place of its survey's.

    `watch`: what is announced at the broker, and is not written over: the newest model may not have been.

    Raises:
        ConfigError: there is no model yet, or it is one of another network.
        DataError: what is wished for cannot be computed: the text says why, and what could.
    """
    beginning = beginning_of(ledger, before, wish)
    require_wishable(settings, ledger, beginning, wish)
    begun = begin_with(ledger, beginning)
    life = Life(before.ledger, generation, learnt(settings))
    here = RoundId(generation, 0)
    parts = settings.parts()
    data = model_message(here, begun.vector, first_vectors(parts.hands_on, len(begun.vector)))
    task, model = _places(ledger, before, watch, begun.task_data, data)
    now = time.time()
    with ledger.transaction():
        ledger.begin_life(life)
        ledger.save_mark(ORDER, order)
        ledger.save_beginning(generation, beginning)
        ledger.save_content("task", here, task, begun.task_data)
        ledger.save_content("model", here, model, data)
        ledger.save_round(here, KEPT, 0, (), now)
        ledger.close_round(here, model.digest, 0, 0, {}, now, RULE, task.digest, parts.text())
    log.info("generation %d begins with %s", generation, story(beginning))
    return life


def beginning_of(ledger: LedgerReader, life: Life, wish: Return) -> Beginning:
    """What a wish comes to in this ledger.

    Raises:
        ConfigError: there is no model yet.
        DataError: that round is not kept.
    """
    generation = life.generation if wish.generation is None else wish.generation
    last = ledger.last_trained(generation)
    if wish.round is not None:
        source = RoundId(generation, wish.round)
    elif last is not None:
        source = last
    else:
        raise ConfigError("this ledger holds no model yet: its generation has nothing to go on with")
    ends = last.round if wish.without and last is not None else source.round
    earlier = ledger.beginning(generation)
    left_out = {*wish.survey_without, *(earlier.survey_without if earlier is not None else ())}
    beginning = Beginning(
        source, ends, tuple(sorted(set(wish.without))), ledger.survey_of(generation), tuple(sorted(left_out))
    )
    require_kept(ledger, beginning)
    return beginning


def require_wishable(
    settings: FederationSettings, ledger: LedgerReader, beginning: Beginning, wish: Return
) -> None:
    """Raise an error, before anything is computed, if a wish names who was not there, or leaves too few.

    Raises:
        ConfigError: the model is one of another network than the configuration's.
        DataError: there is nothing to compute again, a device is in none of it, or fewer than two are left.
    """
    source = beginning.source
    digest = ledger.task_after(source)
    assert digest is not None
    meaning = _meaning(task_of(ledger, digest))
    require_same(Life(b"", source.generation, meaning), settings)
    quorum = settings.rounds.quorum
    fewest = min(FEWEST, quorum) if isinstance(quorum, int) else FEWEST
    numbers = range(source.round + 1, beginning.last + 1)
    rounds = [each for n in numbers if not ledger.only_measured(each := RoundId(source.generation, n))]
    if wish.without and not rounds:
        raise DataError(
            f"--without: {source} is the last closed round, and its own model is taken as it is: name an "
            "earlier round, the last one that the devices did not spoil"
        )
    _require_left("--without", ledger, rounds, wish.without, fewest)
    if wish.survey_without and beginning.survey is not None:
        _require_left("--survey-without", ledger, [RoundId(beginning.survey, 0)], wish.survey_without, fewest)


def _require_left(
    option: str, ledger: LedgerReader, rounds: Iterable[RoundId], without: tuple[str, ...], fewest: int
) -> None:
    """Each device is in one of the rounds, and each round has so many without them."""
    there: set[str] = set()
    for round_id in rounds:
        counted = set(admitted(ledger, round_id))
        there |= counted
        if without and len(left := counted - set(without)) < fewest:
            who = f"only {', '.join(left)} is" if left else "nobody is"
            raise DataError(
                f"{option} {' '.join(without)}: {who} left in round {round_id}, and it takes {fewest}: leave "
                "out fewer, or begin with the model of another round"
            )
    if unknown := sorted(set(without) - there):
        raise DataError(
            f"{option} {' '.join(unknown)}: counts in none of the rounds that are computed again; in them "
            f"are {', '.join(sorted(there))}"
        )


def story(beginning: Beginning) -> str:
    """What a generation begins with, for people."""
    source, last = beginning.source, beginning.last
    text = f"the model of round {source}"
    if last > source.round:
        rounds = f"round {RoundId(source.generation, source.round + 1)}"
        if last > source.round + 1:
            rounds = (
                f"rounds {RoundId(source.generation, source.round + 1)} to {RoundId(source.generation, last)}"
            )
        text += f" and {rounds}, computed again without {', '.join(beginning.without)}"
        if last > source.round + MANY_ROUNDS:
            text += (
                f" (more than {MANY_ROUNDS} rounds: all but the first were trained from models with "
                "its part in them, so look at the accuracy)"
            )
    if beginning.survey_without:
        text += f"; frozen layers of the survey without {', '.join(beginning.survey_without)}"
    return text


def _places(
    ledger: LedgerReader, before: Life, watch: LeaderCheck, task_data: bytes, model_data: bytes
) -> tuple[Blob, Blob]:
    """The slots of a new task and model: never those of what is announced, for a device may wake and read it.

    Where nothing is known to be announced, the ledger's newest are taken for it.
    """
    there = watch.task or _newest(ledger, "task", before.generation)
    task = blob_of(task_data, 0)
    if there is not None:
        task = there if there.digest == task.digest else blob_of(task_data, 1 - there.slot)
    old = watch.model or _newest(ledger, "model", before.generation)
    return task, blob_of(model_data, 1 - old.slot if old is not None else 0)
