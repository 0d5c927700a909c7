"""Whether a device can take part with its data as they are: all that is wrong with them, and what would help.

For its owner: it quotes labels, and names files and columns. What a device tells others when it declines is
made in `agent.dataset`. Pure.
"""

import difflib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from agent.account import Account, account, column_names
from agent.config import DataSettings
from agent.dataset import Unfit, fit
from agent.labels import UNKNOWN, advice, key
from agent.sentinels import sentinels
from agent.sources.samples import Samples
from fedge.disclosure import listing
from fedge.messages import Task


@dataclass(frozen=True)
class Finding:
    """One thing about the data."""

    what: str
    """What is found, in words; of a column what it does."""
    column: str | None = None
    """The column that it is about."""
    count: int | None = None
    """How many rows or values it is about."""
    first: str | None = None
    """Where the first of them is: `data/a.csv: line 7`."""
    remedy: str | None = None
    """What would help."""

    def __str__(self) -> str:
        about = f"column {self.column!r} {self.what}" if self.column is not None else self.what
        where = f", first: {self.first}" if self.first is not None and self.count != 1 else ""
        where = f" ({self.first})" if self.first is not None and self.count == 1 else where
        return f"{about}{where}{f'; {self.remedy}' if self.remedy else ''}"

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {name: value for name, value in asdict(self).items() if value is not None}


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
    return Verdict(found, tuple(problems), tuple(_warnings(found, settings, task)))


# ── what keeps the device from taking part ─────────────────────────────────────────────────────────


def _problems(found: Account, settings: DataSettings, task: Task | None) -> Iterator[Finding]:
    samples = found.samples
    if samples.nameless is not None and (task is None or found.absent):
        yield Finding(str(samples.nameless))
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
        yield Finding(str(unfit))


def _columns(found: Account, task: Task | None) -> Iterator[Finding]:
    samples = found.samples
    for name in found.absent:
        near = difflib.get_close_matches(name, samples.columns or (), n=1)
        help_ = f"did you mean {near[0]!r}? " if near else ""
        yield Finding(
            "is not there, and the task asks for it",
            name,
            remedy=f"{help_}the columns are {listing(samples.columns or ())}",
        )
    if task is not None and samples.columns is None and samples.X.shape[1] != len(task.features):
        yield Finding(
            f"X has {samples.X.shape[1]} columns, the task {len(task.features)} features: "
            f"{listing(task.features)}"
        )


def _faults(found: Account) -> Iterator[Finding]:
    names = column_names(found.samples)
    for j in found.columns:
        if (fault := found.samples.faults.get(j)) is not None:
            yield Finding(
                f"{fault.text}",
                remedy=f"mend column {names[j]!r}; one that is no number cannot be a feature",
            )


def _missing(found: Account) -> Iterator[Finding]:
    if found.rules.missing == "fill":
        return
    samples, names = found.samples, column_names(found.samples)
    if found.rules.missing == "refuse":
        left = len(found.kept)
        for j, gone in found.missing.items():
            yield Finding(
                f"is missing in {gone.count} of {len(samples.X)} rows",
                names[j],
                gone.count,
                samples.place(gone.first),
                f'complete them, or set [data] missing = "drop" (leaves {left} rows) or "fill"',
            )
        if found.unanswered.any():
            count = int(found.unanswered.sum())
            yield Finding(
                f"the answer is missing in {count} of {len(samples.X)} rows ({samples.answer})",
                None,
                count,
                samples.place(int(found.unanswered.argmax())),
                f'complete them, or set [data] missing = "drop" (leaves {left} rows)',
            )


def _answers(found: Account, settings: DataSettings, task: Task | None) -> Iterator[Finding]:
    samples, labels = found.samples, found.labels
    if task is None:
        return
    if task.classes is not None and labels is None:
        what = "there is none" if samples.y is None else "it holds neither class names nor whole numbers"
        yield Finding(f"{samples.answer} must say each row's class: {what}", remedy=_where(samples))
        return
    if labels is None or task.classes is None:
        return
    if labels.from_one and settings.first_class is None:
        yield Finding(
            f"{samples.answer}: whole numbers from 1 to {labels.highest}, but classes are counted from 0",
            remedy=f"if 1 is {task.classes[0]!r}, set [data] first_class = 1",
        )
    elif labels.unknown and found.rules.unknown_labels == "refuse":
        unknown = int((labels.indices == UNKNOWN).sum())
        yield Finding(
            f"{samples.answer}: {unknown} rows are of no class of the task; its classes are "
            f"{listing(task.classes)}",
            None,
            unknown,
            samples.place(int((labels.indices == UNKNOWN).argmax())),
            advice(labels.unknown, task.classes),
        )


def _where(samples: Samples) -> str:
    if samples.columns is None:
        return "hand over y beside X"
    return f"[data] label names the column; the columns are {listing(samples.columns)}"


def _too_few(found: Account, settings: DataSettings) -> Finding:
    rows, kept = len(found.samples.X), len(found.kept)
    between = kept - len(found.training) - len(found.held)
    return Finding(
        f"{len(found.training)} rows are left for training, the minimum is {settings.minimum}: of {rows} "
        f"{rows - kept} are left out, {len(found.held)} are held out, {between} lie in gaps",
        count=len(found.training),
        remedy="collect more, or hold out fewer ([data] holdout, gap)",
    )


# ── what the model may be the worse for ────────────────────────────────────────────────────────────


def _warnings(found: Account, settings: DataSettings, task: Task | None) -> Iterator[Finding]:
    yield from _parts(found, task)
    yield from _numbers_of_classes(found, settings, task)
    yield from _impossible(found)
    yield from _excluded(found)
    names = column_names(found.samples)
    for j, (after, before) in found.samples.narrowed.items():
        if j in found.columns:
            yield Finding(
                f"keeps {after} different values of {before} in float32",
                names[j],
                remedy="subtract a constant from the column, or leave it out",
            )


def _parts(found: Account, task: Task | None) -> Iterator[Finding]:
    holdout, classes = found.rules.holdout, found.classes or ()
    unseen = [one for one in classes if one.held and not one.training]
    if unseen:
        yield Finding(
            f"{found.held_unseen} of the {len(found.held)} held-out rows are of classes that the training "
            f"part lacks ({listing([f'{one.name}: {one.held}' for one in unseen])})",
            None,
            found.held_unseen,
            remedy=f"is the file sorted by class? {another_way(holdout.part, holdout.by)}",
        )
    if task is not None and (none := [one.name for one in classes if not one.training and not one.held]):
        yield Finding(f"no row is of class {listing(none)}", count=0)
    if len(found.held) and (seen := [one.name for one in classes if one.training and not one.held]):
        yield Finding(f"no held-out row is of class {listing(seen)}: it is not measured here", count=0)
    if holdout.part and not len(found.held) and len(found.kept):
        yield Finding(
            f"nothing is held out: all {found.series} series are too short",
            remedy=another_way(holdout.part, ""),
        )
    elif found.short:
        yield Finding(
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
            f"holds {one.value:.10g} {one.count} times, and all others lie in {one.low:g} … {one.high:g}: does a "
            "sensor or logger write it for no reading?",
            name,
            one.count,
            samples.place(one.first),
            f"[data] missing_values = [{one.value:.10g}] makes it a missing value wherever it stands, "
            f"[data] range = {{ {key(name)} = [{one.low:g}, {one.high:g}] }} all that lies outside",
        )


def _excluded(found: Account) -> Iterator[Finding]:
    names = column_names(found.samples)
    for one in found.samples.exclusions:
        yield Finding(
            f"has {one.count} values that are taken as missing: {one.why}",
            "y" if one.column is None else names[one.column],
            one.count,
            found.samples.place(one.first),
        )
