"""`fedge-agent --check`: explain the configuration and the data, and list what would be declined now.

The data are checked with the task that the device holds, or without a task as far as possible.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TextIO

import numpy as np
from pydantic import BaseModel

from agent.cli.current_objections import current_objections
from agent.config import AgentSettings
from agent.core.hours import Hours
from agent.data.assessment import Assessment, assess
from agent.data.finding import Finding
from agent.data.inventory_texts import lines as lines_of
from agent.data.inventory_texts import notes
from agent.data.rules import effective
from agent.settings.sources import DEFAULT_SOURCE
from agent.shell import model_file
from agent.shell.cohort_keys import CohortKeys
from agent.shell.zone import check_zone, local_zone
from agent.sources import Samples, open_source
from agent.trainers.extensions import load_extensions, trainer_of
from fedge.errors import DataError, StateError
from fedge.identity import ed25519
from fedge.identity.trust import fingerprint
from fedge.service.escapes import printable
from fedge.wire.messages.task import Task

WIDTH = 10
"""The width of the column of names, in characters."""
MOST = 10
"""The most devices of a roster that are named."""
COUNTED = ("data", "samples", "columns", "labels", "holdout")
"""Entries that the text omits, because files, rows, used, not used and classes show them in more detail."""


def check(settings: AgentSettings, out: TextIO, *, as_json: bool) -> None:
    """Print the result, as text or as one JSON object. The check changes nothing and connects to nothing.

    Raises:
        ConfigError: `TZ` names no time zone, the key to trust cannot be read, or the owner's code
            cannot be loaded.
        DataError: a source cannot be read, or the device would not take part with its data. The error lists
            each problem on a line of its own. The result is printed first, unless text was asked for and the
            default source cannot be read.
        StateError: the state folder cannot be read.
    """
    check_zone()
    load_extensions(settings)
    trainer_of(settings.trainer)
    task, learns, cap = _held(settings)
    verdicts: dict[str, Assessment] = {}
    problems: list[tuple[str, Finding]] = []
    for name, data in settings.offered.items():
        its_task = task if task is not None and (task.source or DEFAULT_SOURCE) == name else None
        try:
            verdicts[name] = assess(open_source(data).read(), data, its_task)
        except DataError as error:
            problems.append((name, Finding("unreadable", str(error))))
        else:
            problems += [(name, problem) for problem in verdicts[name].problems]
            if cap is not None and cap < data.minimum <= len(verdicts[name].inventory.training):
                problems.append((name, _above(cap, data.minimum)))
    understood = {**_configuration(settings, verdicts), "task": learns, "cap": cap, "zone": local_zone()}
    warnings = [(name, warning) for name, verdict in verdicts.items() for warning in verdict.warnings]
    if as_json:
        understood |= {
            "uses": {name: _uses(verdict) for name, verdict in verdicts.items()},
            "problems": [{"source": name, **problem.as_dict()} for name, problem in problems],
            "warnings": [{"source": name, **warning.as_dict()} for name, warning in warnings],
        }
        out.write(json.dumps(understood) + "\n")
    elif DEFAULT_SOURCE in verdicts:
        lines = {
            **understood,
            "cap": _capped(cap, len(verdicts[DEFAULT_SOURCE].inventory.training)),
            **lines_of(verdicts[DEFAULT_SOURCE].inventory),
            **notes(verdicts[DEFAULT_SOURCE].inventory),
        }
        if verdicts[DEFAULT_SOURCE].inventory.rules.missing == "refuse":
            lines.pop("unread", None)  # a problem reports them
        _write(out, {name: value for name, value in lines.items() if name not in COUNTED})
        for name, warning in warnings:
            out.write(printable(f"{'warning':>{WIDTH}}  {_of(name, settings)}{warning}") + "\n")
        if not problems:
            out.write("the configuration is valid\n")
    if problems:
        said = [printable(f"{_of(name, settings)}{problem}") for name, problem in problems]
        if verdicts:
            problems_ = "1 problem" if len(said) == 1 else f"{len(said)} problems"
            said.insert(0, f"the device would not take part with its data: {problems_}")
        raise DataError("\n".join(said))


def _configuration(settings: AgentSettings, verdicts: Mapping[str, Assessment]) -> dict[str, Any]:
    """Return the meaning of the configuration. Entries about data that cannot be read are None."""
    found = {name: verdict.inventory.samples for name, verdict in verdicts.items()}
    default, rules = found.get(DEFAULT_SOURCE), effective(settings.data, None)
    return {
        "device": settings.device,
        "federation": settings.federation,
        "broker": settings.broker.url,
        "tls": settings.broker.tls,
        "data": None if default is None else default.name,
        "samples": None if default is None else len(default.X),
        "columns": None if default is None else default.X.shape[1],
        "labels": None if default is None else _labels(default),
        "holdout": rules.holdout.model_dump(),
        "missing": rules.missing,
        "sources": {name: len(samples.X) for name, samples in found.items()} if settings.sources else {},
        "limits": _chosen(settings.limits),
        "conditions": _chosen(settings.conditions),
        "declines": current_objections(settings),
        "state": str(settings.state.folder),
        "trust": _pinned(settings),
        "roster": _known(settings),
    }


def _above(cap: int, minimum: int) -> Finding:
    """Return the problem of a cap below the minimum. The device declines then (`agent.data.dataset.fit`)."""
    return Finding(
        "cap below minimum",
        f"the federation takes at most {cap} rows for training, but [data] minimum is {minimum}",
        remedy="lower the minimum",
    )


def _capped(cap: int | None, training: int) -> str:
    """Describe how many training rows the federation takes, as far as the device knows."""
    if cap is None:
        return "not known yet: the federation may take only the newest of the rows for training"
    used = f"the newest {cap} of {training} are used" if training > cap else f"all {training} are used"
    return f"the federation takes at most {cap} rows for training: {used}"


def _held(settings: AgentSettings) -> tuple[Task | None, str | None, int | None]:
    """Return the task that the device holds, its description, and the cap on rows; None: it holds none."""
    path = settings.state.folder / model_file.FILE
    try:
        kept = model_file.read(path)
    except StateError as error:
        return None, str(error), None
    if kept is None:
        return None, None, None
    if kept.unknown:
        return None, f"needs a newer program: this one does not know {', '.join(kept.unknown)}", None
    model, task = kept.decoded_model, kept.decoded_task
    outputs = f"{len(task.outputs)} {'targets' if task.classes is None else 'classes'}"
    told = f"of round {model.generation}.{model.round}: {len(task.features)} features, {outputs}"
    return task, told, kept.max_samples


def _uses(verdict: Assessment) -> dict[str, Any]:
    """Return what is used of a source, for programs."""
    found = verdict.inventory
    between = len(found.kept) - len(found.training) - len(found.held)
    return {
        "files": dict(found.samples.blocks),
        "waits": list(found.samples.waiting),
        "rows": len(found.samples.X),
        "of_rows": len(found.samples.X) if found.samples.of is None else found.samples.of,
        "training": len(found.training),
        "held_out": len(found.held),
        "gaps": between,
        "left_out": len(found.samples.X) - len(found.kept),
        "series": found.series,
        "series_without_held_out": found.short,
        "columns": list(found.used),
        "unused_columns": list(found.unused),
        "classes": None if found.classes is None else [asdict(one) for one in found.classes],
        "held_unseen": found.held_unseen,
        "excluded": list(found.excluded),
        **{name.replace(" ", "_"): told for name, told in notes(found).items()},
    }


def _of(name: str, settings: AgentSettings) -> str:
    """Return the source that begins a line; empty if there is only one source."""
    if not settings.sources:
        return ""
    return "[data] " if name == DEFAULT_SOURCE else f"[sources.{name}] "


def _write(out: TextIO, lines: Mapping[str, Any]) -> None:
    for name, value in lines.items():
        if name == "declines":
            value = "; ".join(f"{reason} ({detail})" for reason, detail in value.items())
        if value not in (None, {}, ""):
            out.write(printable(f"{name:>{WIDTH}}  {_shown(value)}") + "\n")


def _pinned(settings: AgentSettings) -> str | None:
    """Return the fingerprint of the key that must sign models; None: any model is accepted."""
    if settings.trust.key is None:
        return None
    ed25519.require("[trust] key", "secure")
    return fingerprint(ed25519.read_public_key(settings.trust.key))


def _known(settings: AgentSettings) -> str | None:
    """Return how many devices masked rounds may have; None: all that are certified."""
    found = CohortKeys(settings).roster
    if found is None:
        return None
    return (
        f"masked rounds with {len(found.pins)} devices and no others: {', '.join(sorted(found.pins)[:MOST])}"
    )


def _chosen(section: BaseModel) -> dict[str, Any]:
    """Return the keys of a section whose values are neither None nor False."""
    values = {name: value for name, value in section if value is not None and value is not False}
    return {name: str(value) if isinstance(value, Hours) else value for name, value in values.items()}


def _labels(samples: Samples) -> dict[str, int] | None:
    """Count the rows of each class in the data; None: the answers are not classes."""
    if samples.y is None or samples.y.ndim != 1 or samples.y.dtype.kind == "f":
        return None
    answered = samples.y if samples.unanswered is None else samples.y[~samples.unanswered]
    names, counts = np.unique(answered, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True) if str(name)}


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
