"""The meaning of weights, kept as JSON in the ledger: it must not change within a generation."""

import json
from typing import Any

from aggregator.config import FederationSettings
from aggregator.ledger.records import LedgerMeta
from fedge.errors import ConfigError
from fedge.wire.messages.task import Task


def model_fingerprint(settings: FederationSettings) -> str:
    """The meaning of weights under this configuration."""
    return fingerprint_of(settings.task())


def fingerprint_of(task: Task) -> str:
    """The meaning of a task's weights; it does not depend on the survey."""
    meaning: dict[str, Any] = {
        "features": task.features,
        "classes": task.classes,
        "targets": task.targets,
        "layers": [layer.model_dump(exclude_none=True) for layer in task.network.core],
    }
    if task.source is not None:  # a ledger knows no such key where none is named
        meaning["source"] = task.source
    return json.dumps(meaning)


def require_same(meta: LedgerMeta, settings: FederationSettings) -> None:
    """Raise a ConfigError that names the keys if weights meant something else when the ledger began."""
    before, now = json.loads(meta.model_fingerprint), json.loads(model_fingerprint(settings))
    if before == now:
        return
    for side in (before, now):
        side["layers"] = side.get("layers", [])[:-1]  # the output layer follows from classes and targets
    changed = ", ".join(key for key in {**now, **before} if before.get(key) != now.get(key)) or "something"
    raise ConfigError(
        f"[model] {changed} changed since this ledger began; weights of one network mean nothing in another. "
        "Either change it back, or run once with --new-generation to begin anew with the devices following"
    )
