"""Whether a device can take part with its data as they are: all that is wrong with them, and what would help.

For its owner: it quotes labels, and names files and columns. What a device tells others when it declines is
made in `agent.dataset`. Pure.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from agent.account import Account, account, column_names
from agent.config import DataSettings
from agent.dataset import Unfit, fit
from agent.extremes import NAMED, count_of, extremes
from agent.file_doubts import about_files
from agent.finding import Finding
from agent.labels import UNKNOWN, advice, key
from agent.narrowing import narrowed
from agent.sentinels import sentinels
from agent.sources.samples import Samples
from fedge.disclosure import listing
from fedge.messages import Task


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one source's data."""

    account: Account
    problems: tuple[Finding, ...]
    """Each keeps the device from taking part."""
    warnings: tuple[Finding, ...]
    """None does, but the model may be the worse for it."""


def judge(samples: Samples, settings: DataSettings, task: Task | None) -> Verdict:
    """Judge samples by all that is known.

    Args:
        samples: of the source, without what its owner excludes.
        settings: of the source.
        task: what is learnt; None: not known yet, so any column of numbers may be asked for.
    """
    found = account(samples, settings, task)
    problems = list(_problems(found, settings, task))
    if task is not None and not problems:
        problems = list(_declined(samples, settings, task))
    return Verdict(found, tuple(problems), doubts(found, settings, task))


# ── what keeps the device from taking part ─────────────────────────────────────────────────────────


def _problems(found: Account, settings: DataSettings, task: Task | None) -> Iterator[Finding]:
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


def _declined(samples: Samples, settings: DataSettings, task: Task) -> Iterator[Finding]:
    """What the device itself would say, if nothing was found before."""
    try:
        fit(samples, task, settings)
    except Unfit as unfit:
        yield Finding("declined", str(unfit))


def _columns(found: Account, task: Task | None) -> Iterator[Finding]:
    samples = found.samples
    for name in found.absent:
        near = difflib.get_close_matches(name, samples.columns or (), n=1)
        help_ = f"did you mean {near[0]!r}? " if near else ""
        yield Finding(
            "no such column",
            "is not there, and the task asks for it",
            name,
            remedy=f"{help_}the columns are {listing(samples.columns or ())}",
        )
    if task is not None and samples.columns is None and samples.X.shape[1] != len(task.features):
        yield Finding(
            "wrong width",
            f"X has {samples.X.shape[1]} columns, the task {len(task.features)} features: "
            f"{listing(task.features)}",
        )


def _faults(found: Account) -> Iterator[Finding]:
    names = column_names(found.samples)
    for j in found.columns:
        if (fault := found.samples.faults.get(j)) is not None:
            yield Finding(
                "not numbers",
                fault.text,
                remedy=f"mend column {names[j]!r}; one that is no number cannot be a feature",
            )


def _missing(found: Account) -> Iterator[Finding]:
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


def _answers(found: Account, settings: DataSettings, task: Task | None) -> Iterator[Finding]:
    samples, labels = found.samples, found.labels
    if task is None:
        return
    if task.classes is not None and labels is None:
        what = "there is none" if samples.y is None else "it holds neither class names nor whole numbers"
        yield Finding(
            "no labels", f"{samples.answer} must say each row's class: {what}", remedy=_where(samples)
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
            f"{samples.answer}: {unknown} rows are of no class of the task",
            None,
            unknown,
            samples.place(int((labels.indices == UNKNOWN).argmax())),
            f"the classes are {listing(task.classes)}; {advice(labels.unknown, task.classes)}",
        )


def _where(samples: Samples) -> str:
    if samples.columns is None:
        return "hand over y beside X"
    return f"[data] label names the column; the columns are {listing(samples.columns)}"


def _too_few(found: Account, settings: DataSettings) -> Finding:
    rows, kept = len(found.samples.X), len(found.kept)
    between = kept - len(found.training) - len(found.held)
    return Finding(
        "too few rows",
        f"{len(found.training)} of {rows} rows are left for training, the minimum is {settings.minimum}: "
        f"{rows - kept} are left out, {len(found.held)} are held out, {between} lie in gaps",
        count=len(found.training),
        remedy="collect more"
        + (", or hold out fewer ([data] holdout, gap)" if kept >= settings.minimum else ""),
    )


# ── what the model may be the worse for ────────────────────────────────────────────────────────────


def doubts(found: Account, settings: DataSettings, task: Task | None) -> tuple[Finding, ...]:
    """What does not keep a device from taking part, and may make the model worse."""
    return tuple(_doubts(found, settings, task))


def _doubts(found: Account, settings: DataSettings, task: Task | None) -> Iterator[Finding]:
    yield from _parts(found, task)
    yield from _numbers_of_classes(found, settings, task)
    yield from _impossible(found)
    yield from _far(found, task)
    yield from _unusable(found, task)
    yield from about_files(found.samples, settings)
    names = column_names(found.samples)
    for j, (different, rows) in narrowed(found.samples.X, found.columns).items():
        yield Finding(
            "float32",
            f"has only {different} different values in {rows} rows, as float32 keeps them: its numbers are "
            "too large for their differences",
            names[j],
            remedy="subtract a constant from the column, or leave it out",
        )


def _parts(found: Account, task: Task | None) -> Iterator[Finding]:
    holdout, classes = found.rules.holdout, found.classes or ()
    unseen = [one for one in classes if one.held and not one.training]
    if unseen:
        yield Finding(
            "held-out classes",
            f"{found.held_unseen} of the {len(found.held)} held-out rows are of classes that the training "
            f"part lacks ({listing([f'{one.name}: {one.held}' for one in unseen])})",
            None,
            found.held_unseen,
            remedy=f"is the file sorted by class? {another_way(holdout.part, holdout.by)}",
        )
    refused = found.labels is not None and found.labels.unknown and found.rules.unknown_labels == "refuse"
    if task is not None and not refused and (none := [c.name for c in classes if not c.training + c.held]):
        yield Finding("absent classes", f"no row is of class {listing(none)}")
    if len(found.held) and (seen := [one.name for one in classes if one.training and not one.held]):
        yield Finding(
            "unmeasured classes", f"no held-out row is of class {listing(seen)}: it is not measured here"
        )
    if holdout.part and not len(found.held) and len(found.kept):
        yield Finding(
            "nothing held out",
            f"nothing is held out: all {found.series} series are too short",
            remedy=another_way(holdout.part, ""),
        )
    elif found.short:
        yield Finding(
            "short series",
            f"{found.short} of {found.series} series hold nothing out: they are too short",
            count=found.short,
            remedy="whole series are held out by [data] holdout = { "
            f'part = {holdout.part:g}, by = "series" }}',
        )


def another_way(part: float, by: str) -> str:
    """Another way to hold rows out than the one that did not do."""
    other = "random" if by == "every" else "every"
    return f'[data] holdout = {{ part = {part:g}, by = "{other}" }} takes rows from everywhere'


def _numbers_of_classes(found: Account, settings: DataSettings, task: Task | None) -> Iterator[Finding]:
    labels = found.labels
    if task is None or labels is None or not labels.counted or settings.first_class is not None:
        return
    if labels.lowest == 1 and labels.highest < len(labels.names):
        yield Finding(
            "classes from 1",
            f"{found.samples.answer}: no row has the number 0, so it may count from 1; it is taken to count "
            f"from 0, 1 is {labels.names[1]!r}",
            remedy=f"set [data] first_class = 1 if 1 is {labels.names[0]!r}, else first_class = 0",
        )


def _impossible(found: Account) -> Iterator[Finding]:
    samples, names = found.samples, column_names(found.samples)
    usable = [j for j in found.columns if j not in samples.faults]
    for one in sentinels(samples.X, usable):
        name = names[one.column]
        yield Finding(
            f"impossible number {one.value:.10g}",
            f"holds {one.value:.10g} {one.count} times, and all others lie in {one.low:g} … {one.high:g}: "
            "does a sensor or logger write it for no reading?",
            name,
            one.count,
            samples.place(one.first),
            f"[data] missing_values = [{one.value:.10g}] makes it a missing value wherever it stands, "
            f"[data] range = {{ {key(name)} = [lowest, highest] }} whatever this sensor cannot measure",
        )


def _unusable(found: Account, task: Task | None) -> Iterator[Finding]:
    """Columns that may hold numbers, and that no task can have as they are."""
    for _, fault in sorted(found.samples.faults.items()) if task is None else ():
        if not fault.is_text:
            yield Finding(
                "cannot be used", fault.text, remedy="it does not matter unless a task asks for the column"
            )


def _far(found: Account, task: Task | None) -> Iterator[Finding]:
    """Inputs of the training part far outside of what the fleet has measured."""
    samples = found.samples
    if task is None or found.absent or samples.X.shape[1] < len(task.features):
        return
    columns = np.array(found.columns[: len(task.features)], np.intp)
    far = extremes(samples, samples.X[np.ix_(found.training, columns)], found.training, task)
    if far is None:
        return
    for one in far.columns[:NAMED]:
        yield Finding(
            "far",
            f"is {one.distance:,.0f} standard deviations away from the fleet's mean in {one.place}; "
            f"{count_of(one.rows)} beyond {far.bound:g}, {far.what}",
            one.name,
            one.rows,
            remedy="mend them, or leave them empty if they are no measurements",
        )
