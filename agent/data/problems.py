"""Finds the problems that keep a device from taking part with its data, and remedies. Pure."""

import difflib
from collections.abc import Iterator

from agent.data.dataset import fit
from agent.data.finding import Finding
from agent.data.inventory import Inventory, column_names
from agent.data.labels import UNKNOWN, advice
from agent.data.unfit import Unfit
from agent.settings.data import DataSettings
from agent.sources.samples import Samples
from fedge.data.disclosure import listing
from fedge.wire.messages.task import Task


def problems(found: Inventory, settings: DataSettings, task: Task | None) -> Iterator[Finding]:
    """Find all problems that keep a device from taking part."""
    samples = found.samples
    if samples.nameless is not None and (task is None or found.absent):
        yield Finding("no header", str(samples.nameless))
        return
    yield from _columns(found, task)
    yield from _faults(found)
    yield from _missing(found)
    yield from _answers(found, settings, task)
    if len(found.training) < settings.minimum:
        yield _too_few(found, settings)


def declined(samples: Samples, settings: DataSettings, task: Task) -> Iterator[Finding]:
    """Return the error that the device itself would raise, if no other problem was found."""
    try:
        fit(samples, task, settings)
    except Unfit as unfit:
        yield Finding("declined", str(unfit))


def _columns(found: Inventory, task: Task | None) -> Iterator[Finding]:
    samples = found.samples
    for name in found.absent:
        near = difflib.get_close_matches(name, samples.columns or (), n=1)
        help_ = f"did you mean {near[0]!r}? " if near else ""
        yield Finding(
            "no such column",
            "is missing, but the task asks for it",
            name,
            remedy=f"{help_}the columns are {listing(samples.columns or ())}",
        )
    if task is not None and samples.columns is None and samples.X.shape[1] != len(task.features):
        yield Finding(
            "wrong width",
            f"X has {samples.X.shape[1]} columns, the task {len(task.features)} features: "
            f"{listing(task.features)}",
        )


def _faults(found: Inventory) -> Iterator[Finding]:
    names = column_names(found.samples)
    for j in found.columns:
        if (fault := found.samples.faults.get(j)) is not None:
            yield Finding(
                "not numbers",
                fault.text,
                remedy=f"correct column {names[j]!r}; only a column of numbers can be a feature",
            )


def _missing(found: Inventory) -> Iterator[Finding]:
    if found.rules.missing == "fill":
        return
    samples, names = found.samples, column_names(found.samples)
    if found.rules.missing == "refuse":
        left = len(found.kept)
        settings = f'[data] missing = "drop" (leaves {left} rows) or "fill"'
        for j, gone in found.missing.items():
            what = f"is missing in {gone.count} of {len(samples.X)} rows"
            if (unread := samples.unread.get(j)) is None:
                place = samples.place(gone.first)
                help_ = f"complete {'it' if gone.count == 1 else 'them'}, or set {settings}"
                yield Finding("missing values", what, names[j], gone.count, place, help_)
                continue
            if unread.count == gone.count:
                what = f"cannot be read in {unread.count} of {len(samples.X)} rows"
            else:
                what += f", in {unread.count} of them because the cell cannot be read"
            help_ = f"correct {'it' if gone.count == 1 else 'them'}, or set {settings}"
            yield Finding("unread cells", what, names[j], unread.count, unread.first.text, help_)
        if found.unanswered.any():
            count = int(found.unanswered.sum())
            yield Finding(
                "missing answers",
                f"the answer is missing in {count} of {len(samples.X)} rows ({samples.answer})",
                None,
                count,
                samples.place(int(found.unanswered.argmax())),
                f"complete {'it' if count == 1 else 'them'}, or "
                f'set [data] missing = "drop" (leaves {left} rows)',
            )


def _answers(found: Inventory, settings: DataSettings, task: Task | None) -> Iterator[Finding]:
    samples, labels = found.samples, found.labels
    if task is None:
        return
    if task.classes is not None and labels is None:
        what = "there is none" if samples.y is None else "it holds neither class names nor whole numbers"
        yield Finding(
            "no labels", f"{samples.answer} must hold each row's class: {what}", remedy=_where(samples)
        )
        return
    if labels is None or task.classes is None:
        return
    if labels.from_one and settings.first_class is None:
        yield Finding(
            "classes from 1",
            f"{samples.answer}: whole numbers from 1 to {labels.highest}, but classes are counted from 0",
            remedy=f"if 1 is {task.classes[0]!r}, set [data] first_class = 1",
        )
    elif labels.unknown and found.rules.unknown_labels == "refuse":
        unknown = int((labels.indices == UNKNOWN).sum())
        yield Finding(
            "unknown labels",
            f"{samples.answer}: the labels of {unknown} rows are not classes of the task",
            None,
            unknown,
            samples.place(int((labels.indices == UNKNOWN).argmax())),
            f"the classes are {listing(task.classes)}; {advice(labels.unknown, task.classes)}",
        )


def _where(samples: Samples) -> str:
    if samples.columns is None:
        return "provide y beside X"
    return f"[data] label names the column; the columns are {listing(samples.columns)}"


def _too_few(found: Inventory, settings: DataSettings) -> Finding:
    rows, kept = len(found.samples.X), len(found.kept)
    between = kept - len(found.training) - len(found.held)
    return Finding(
        "too few rows",
        f"{len(found.training)} of {rows} rows are left for training, the minimum is {settings.minimum}: "
        f"{rows - kept} are left out, {len(found.held)} are held out, {between} are in gaps",
        count=len(found.training),
        remedy="collect more rows"
        + (", or hold out fewer ([data] holdout, gap)" if kept >= settings.minimum else ""),
    )
