"""How a generation begins: with a survey, or with the model of the one before.

What weights mean may not change within a generation; in the ledger it stands as JSON, to see a change.
"""

import json
import time
from typing import Any

from aggregator.closing import blob_of, model_message, weights_of
from aggregator.config import FederationSettings
from aggregator.ledger.layout import KEPT
from aggregator.ledger.reading import LedgerReader, Life
from aggregator.ledger.writing import Ledger
from aggregator.presence import Watch
from fedge import __version__
from fedge.capabilities import unknown_in_task
from fedge.errors import ConfigError
from fedge.freshness import RoundId
from fedge.messages import MAX_SIZE, Blob, Task, pack, unpack


def learnt(settings: FederationSettings) -> str:
    """What weights mean under this configuration."""
    task = settings.task()
    meaning: dict[str, Any] = {
        "features": task.features,
        "classes": task.classes,
        "targets": task.targets,
        "layers": [layer.model_dump() for layer in task.network.layers],
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
    settings: FederationSettings, ledger: Ledger, name: bytes, generation: int, announced: Blob | None = None
) -> Life:
    """Begin a generation with a survey, in the ledger of that name.

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
        ledger.save_content("task", RoundId(generation, 0), task, data)
    return life


def _newest(ledger: Ledger, kind: str, generation: int) -> Blob | None:
    """Where the newest task or model of a generation lies, or is about to."""
    digest = ledger.newest(kind, generation)
    return next((blob for blob in ledger.slots().values() if blob.digest == digest), None)


def go_on(settings: FederationSettings, ledger: Ledger, before: Life, generation: int, watch: Watch) -> Life:
    """Begin a generation with the newest model of the one before in the place of its survey's.

    `watch`: what is announced at the broker, and is not written over: the newest model may not have been.

    Raises:
        ConfigError: there is no model yet, or it is one of another network.
    """
    require_same(before, settings)
    task_digest, model_digest = (ledger.newest(kind, before.generation) for kind in ("task", "model"))
    if task_digest is None or model_digest is None:
        raise ConfigError("this ledger holds no model yet: its generation has nothing to go on with")
    life = Life(before.ledger, generation, before.learnt)
    beginning = RoundId(generation, 0)
    blobs: dict[bytes, Blob] = {blob.digest: blob for blob in ledger.slots().values()}
    task = ledger.content(task_digest)
    size = task_of(ledger, task_digest).network.schema.size
    old, place = blobs[model_digest], blobs[task_digest]
    data = model_message(beginning, weights_of(ledger, old, size))
    model = blob_of(data, 1 - (watch.model or old).slot)
    if watch.task is not None and watch.task.digest != task_digest:
        place = blob_of(task, 1 - watch.task.slot)
    now = time.time()
    with ledger.transaction():
        ledger.begin_life(life)
        ledger.save_content("task", beginning, place, task)
        ledger.save_content("model", beginning, model, data)
        ledger.save_round(beginning, KEPT, 0, (), now)
        ledger.close_round(beginning, model.digest, 0, 0, {}, now, None)
    return life
