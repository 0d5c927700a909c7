"""`fedge-agent --check`: what the configuration means, what the data are, what is declined right now."""

import json
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from pydantic import BaseModel

from agent.conditions import Conditions, this_host, today
from agent.config import AgentSettings
from agent.hours import Hours
from agent.limits import beyond_budget
from agent.manners import objections
from agent.memory import FILE, read_moved
from agent.meter import Meter
from agent.sources import Samples, open_source
from fedge import ed25519
from fedge.escapes import printable
from fedge.trust import fingerprint


def check(settings: AgentSettings, out: TextIO, *, as_json: bool) -> None:
    """Write what is understood, as text or as one JSON object. Nothing is changed, nobody is asked.

    Raises:
        DataError: a source cannot be read.
        StateError: the state folder cannot be read.
    """
    samples = {name: open_source(data).read() for name, data in settings.offered.items()}
    for found in samples.values():
        if found.nameless is not None:  # no task is at hand that might ask for such names
            raise found.nameless
    default, *others = samples.values()
    understood = {
        "device": settings.device,
        "federation": settings.federation,
        "broker": settings.broker.url,
        "tls": settings.broker.tls,
        "data": default.name,
        "samples": len(default.X),
        "columns": default.X.shape[1],
        "labels": _labels(default),
        "holdout": settings.data.holdout,
        "missing": settings.data.missing,
        "sources": {name: len(found.X) for name, found in samples.items()} if others else {},
        "limits": _chosen(settings.limits),
        "manners": _chosen(settings.manners),
        "declines": _declines(settings),
        "state": str(settings.state.folder),
        "trust": _pinned(settings),
    }
    if reading := {name: told for name, found in samples.items() if (told := _reading(found))}:
        understood["reading"] = reading
    if as_json:
        out.write(json.dumps(understood) + "\n")
        return
    for name, value in understood.items():
        if name == "declines":
            value = "; ".join(f"{reason} ({detail})" for reason, detail in value.items())
        if value not in (None, {}, ""):
            out.write(printable(f"{name:>10}  {_shown(value)}") + "\n")
    out.write("the configuration is valid\n")


def _reading(samples: Samples) -> str:
    """How the files were understood, and what in them could not be."""
    return "; ".join((*samples.reading, *samples.notes(samples.columns or ())))


def _pinned(settings: AgentSettings) -> str | None:
    """The head of the key that models must be signed with; None: any model is taken."""
    if settings.trust.key is None:
        return None
    ed25519.require("[trust] key", "secure")
    return fingerprint(ed25519.read_public_key(settings.trust.key))


@dataclass(frozen=True)
class _WrittenDown:
    """The day's bytes as a device's database has them, which is not changed."""

    path: Path

    def moved(self) -> tuple[str, int]:
        return read_moved(self.path)

    def save_moved(self, day: str, count: int) -> None:
        pass


def _declines(settings: AgentSettings) -> dict[str, str]:
    """What would be declined right now, by reason, whatever the round."""
    host = this_host()
    notebook = _WrittenDown(settings.state.folder / FILE)
    meter = Meter(notebook, settings.limits.bytes_per_day, lambda: today(host), time.monotonic)
    meter.count(0)
    readings = Conditions(settings, host, meter).read()
    against = chain(
        objections(settings.manners, readings), beyond_budget(settings.limits, readings.spent, expected=1)
    )
    return {objection.reason: objection.full for objection in against}


def _chosen(section: BaseModel) -> dict[str, Any]:
    """The keys that its owner has set."""
    values = {name: value for name, value in section if value is not None and value is not False}
    return {name: str(value) if isinstance(value, Hours) else value for name, value in values.items()}


def _labels(samples: Samples) -> dict[str, int] | None:
    """How often each class stands in the data; None if the answers are not classes."""
    if samples.y is None or samples.y.ndim != 1 or samples.y.dtype.kind == "f":
        return None
    answered = samples.y if samples.unanswered is None else samples.y[~samples.unanswered]
    names, counts = np.unique(answered, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
