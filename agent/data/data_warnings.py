"""Warnings about a device's data. The device takes part, but the model may become worse. Pure."""

from collections.abc import Iterator

from agent.data.extremes import NAMED, count_of, extremes
from agent.data.features import table_of
from agent.data.file_warnings import about_files
from agent.data.finding import Finding
from agent.data.inventory import Inventory, column_names
from agent.data.labels import key
from agent.data.precision_loss import narrowed
from agent.data.sentinels import sentinels
from agent.settings.data import DataSettings
from fedge.data.disclosure import listing
from fedge.nn.spec import takes_float64
from fedge.wire.messages.task import Task


def warnings_of(found: Inventory, settings: DataSettings, task: Task | None) -> tuple[Finding, ...]:
    """Return all warnings about the samples of one source."""
    return tuple(_warnings(found, settings, task))


def _warnings(found: Inventory, settings: DataSettings, task: Task | None) -> Iterator[Finding]:
    yield from _parts(found, task)
    yield from _numbers_of_classes(found, settings, task)
    yield from _impossible(found)
    yield from _far(found, task)
    yield from _unusable(found, task)
    yield from about_files(found.samples, settings, found.rules.holdout)
    yield from _narrowed(found, task)


def _narrowed(found: Inventory, task: Task | None) -> Iterator[Finding]:
    """Columns that float32 rounds to few values, except features that the task takes in float64."""
    samples, names = found.samples, column_names(found.samples)
    settled = task is not None and task.network.first is not None
    targets = () if task is None else task.targets or ()
    whole = {j for j in samples.rest if names[j] not in targets}
    if task is not None and settled and not takes_float64(task.network):
        whole = set()
    columns = [j for j in found.columns if j not in whole]
    for j, (different, rows) in narrowed(samples.X, columns).items():
        again = (
            "; or begin a new generation, which takes such a column in float64 if all devices can"
            if j in samples.rest and names[j] not in targets
            else ""
        )
        yield Finding(
            "float32",
            f"has only {different} different values in {rows} rows after rounding to float32: its numbers "
            "are too large for their differences",
            names[j],
            remedy=f"subtract a constant from the column, or leave it out{again}",
        )


def _parts(found: Inventory, task: Task | None) -> Iterator[Finding]:
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
    """Propose another way to hold rows out, instead of one that did not work."""
    other = "random" if by == "every" else "every"
    return f'[data] holdout = {{ part = {part:g}, by = "{other}" }} takes rows from everywhere'


def _numbers_of_classes(found: Inventory, settings: DataSettings, task: Task | None) -> Iterator[Finding]:
    labels = found.labels
    if task is None or labels is None or not labels.counted or settings.first_class is not None:
        return
    if labels.lowest == 1 and labels.highest < len(labels.names):
        yield Finding(
            "classes from 1",
            f"{found.samples.answer}: no row has the number 0, so the numbers may count from 1; they are "
            f"read as counting from 0, where 1 is {labels.names[1]!r}",
            remedy=f"set [data] first_class = 1 if 1 is {labels.names[0]!r}, else first_class = 0",
        )


def _impossible(found: Inventory) -> Iterator[Finding]:
    samples, names = found.samples, column_names(found.samples)
    usable = [j for j in found.columns if j not in samples.faults]
    for one in sentinels(samples.X, usable):
        name = names[one.column]
        yield Finding(
            f"impossible number {one.value:.10g}",
            f"holds {one.value:.10g} {one.count} times, and all other values are in {one.low:g} … "
            f"{one.high:g}: does a sensor or logger write it when it has no reading?",
            name,
            one.count,
            samples.place(one.first),
            f"[data] missing_values = [{one.value:.10g}] makes it a missing value in all columns, [data] "
            f"range = {{ {key(name)} = [lowest, highest] }} excludes what this sensor cannot measure",
        )


def _unusable(found: Inventory, task: Task | None) -> Iterator[Finding]:
    """Columns that may hold numbers, but cannot be used as they are."""
    for _, fault in sorted(found.samples.faults.items()) if task is None else ():
        if not fault.is_text:
            yield Finding(
                "cannot be used", fault.text, remedy="this matters only if a task asks for the column"
            )


def _far(found: Inventory, task: Task | None) -> Iterator[Finding]:
    """Inputs of the training part that are far outside what the fleet has measured."""
    samples = found.samples
    if task is None or found.absent or samples.X.shape[1] < len(task.features):
        return
    columns = found.columns[: len(task.features)]
    X = table_of(samples, columns, exact=takes_float64(task.network))
    far = extremes(samples, X[found.training], found.training, task)
    if far is None:
        return
    for one in far.columns[:NAMED]:
        yield Finding(
            "far",
            f"is {one.distance:,.0f} standard deviations away from the fleet's mean in {one.place}; "
            f"{count_of(one.rows)} beyond {far.bound:g}, {far.what}",
            one.name,
            one.rows,
            remedy="correct these values, or leave them empty if they are not measurements",
        )
