"""Warnings about a device's files: parts of a log that are not read, future times, decimal commas. Pure."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from agent.data.finding import Finding
from agent.settings.data import DataSettings, Holdout
from agent.settings.sources import CsvSettings
from agent.sources.decimal_commas import torn
from agent.sources.rotation import log_of
from agent.sources.samples import Samples
from fedge.data.disclosure import listing


def _rotated(samples: Samples, holdout: Holdout) -> Iterator[Finding]:
    """Warn of a log whose oldest part will be deleted, while rows are counted from the first one."""
    files = [Path(name) for name in dict.fromkeys(name for name, _ in samples.blocks)]
    parts = Counter(log_of(file) for file in files)
    logs = sorted(log for log, count in parts.items() if count > 1)
    if holdout.by == "time" or not holdout.part or not logs or samples.lines is None:
        return
    count, names = sum(parts[log] for log in logs), listing([log.name for log in logs])
    yield Finding(
        "rotated log",
        f'a log in {count} parts is read ({names}), and [data] holdout by = "{holdout.by}" counts rows from '
        "the oldest part: when that is deleted, held-out rows become training rows, and the model's figures "
        "look better than the model is",
        remedy=f'[data] holdout = {{ part = {holdout.part:g}, by = "time" }} counts from the end of the '
        "data; or keep all parts, and leave out old rows with [data] newest",
    )


def about_files(samples: Samples, settings: DataSettings, holdout: Holdout) -> Iterator[Finding]:
    """Return warnings about parts of the same log that are not read or will be deleted, times in the future,
    and commas that may be decimal commas."""
    yield from _rotated(samples, holdout)
    if samples.beside.older:
        folder = json.dumps(str(Path(samples.blocks[0][0]).parent), ensure_ascii=False)
        log = json.dumps(f"{samples.beside.log}*", ensure_ascii=False)
        pattern = isinstance(settings, CsvSettings) and settings.files is not None
        yield Finding(
            "not read",
            f"files of the same log are not read: {listing(samples.beside.older)}",
            count=len(samples.beside.older),
            remedy="unpack the compressed files, or remove them"
            if pattern
            else f"[data] path = {folder}, files = {log} reads all that are not compressed",
        )
    if (ahead := samples.ahead) is not None:
        newest = settings.newest if isinstance(settings, CsvSettings) else None
        days = f"; the {newest} are counted back from {ahead.believed}" if isinstance(newest, str) else ""
        yield Finding(
            "times in the future",
            f"{ahead.count} of {ahead.rows} rows have a time in the future: the first says {ahead.time}, and "
            f"the device's clock says {ahead.now}; they are sorted after all others{days}",
            count=ahead.count,
            first=samples.place(ahead.first),
            remedy="correct or delete these rows if their clock was wrong; otherwise set this device's clock",
        )
    said = isinstance(settings, CsvSettings) and settings.separator is not None
    if not said and (comma := torn(samples)) is not None:
        yield Finding(
            "decimal comma",
            f"can be understood in two ways: {comma.cells} is read as {comma.as_two}, because a comma "
            f"separates the cells, but may be {comma.as_one} with a decimal comma",
            comma.column,
            first=samples.place(comma.row),
            remedy=comma.remedy,
        )
