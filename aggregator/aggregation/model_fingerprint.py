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
    if task.source is not None:  # absent without a source, as in older ledgers
        meaning["source"] = task.source
    return json.dumps(meaning)


def require_same(meta: LedgerMeta, settings: FederationSettings) -> None:
    """Check that weights mean the same as when the ledger's generation began.

    Raises:
        ConfigError: they do not; the error names the keys of `[model]` that changed.
    """
    before, now = json.loads(meta.model_fingerprint), json.loads(model_fingerprint(settings))
    if before == now:
        return
    for side in (before, now):
        side["layers"] = side.get("layers", [])[:-1]  # the output layer follows from classes and targets
    changed = ", ".join(key for key in {**now, **before} if before.get(key) != now.get(key)) or "something"
    raise ConfigError(
        f"[model] {changed} changed since this ledger began, and weights of one network cannot be used in "
        "another. Change it back, or run once with --new-generation, which begins with a survey"
    )
