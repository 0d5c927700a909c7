"""Warnings about the files of a device: parts of a log that are not read, commas between cells. Pure."""

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
    """A log in parts whose oldest will be deleted, while rows are counted from the first one."""
    files = [Path(name) for name in dict.fromkeys(name for name, _ in samples.blocks)]
    parts = Counter(log_of(file) for file in files)
    logs = sorted(log for log, count in parts.items() if count > 1)
    if holdout.by == "time" or not holdout.part or not logs or samples.lines is None:
        return
    count, names = sum(parts[log] for log in logs), listing([log.name for log in logs])
    yield Finding(
        "rotated log",
        f'a log in {count} parts is read ({names}), and [data] holdout by = "{holdout.by}" counts from the '
        "oldest one on: when that is deleted, rows that were held out are trained on, and the model seems "
        "better than it is",
        remedy=f'[data] holdout = {{ part = {holdout.part:g}, by = "time" }} goes by the end of the data; or '
        "keep all parts, and let newest leave out what is old",
    )


def about_files(samples: Samples, settings: DataSettings, holdout: Holdout) -> Iterator[Finding]:
    """Older parts of the same log that are not read, and what becomes of held-out rows when some are deleted;
    times in the future; and a comma that may be a decimal one."""
    yield from _rotated(samples, holdout)
    if samples.beside.older:
        folder = json.dumps(str(Path(samples.blocks[0][0]).parent), ensure_ascii=False)
        log = json.dumps(f"{samples.beside.log}*", ensure_ascii=False)
        pattern = isinstance(settings, CsvSettings) and settings.files is not None
        yield Finding(
            "not read",
            f"of the same log and not read: {listing(samples.beside.older)}",
            count=len(samples.beside.older),
            remedy="unpack what is compressed, or remove it"
            if pattern
            else f"[data] path = {folder}, files = {log} reads all that are not compressed",
        )
    if (ahead := samples.ahead) is not None:
        newest = settings.newest if isinstance(settings, CsvSettings) else None
        days = f"; the {newest} are counted from {ahead.believed}" if isinstance(newest, str) else ""
        yield Finding(
            "times in the future",
            f"{ahead.count} of {ahead.rows} rows lie in the future: the first says {ahead.time}, and the "
            f"device's clock says {ahead.now}; they come behind all others{days}",
            count=ahead.count,
            first=samples.place(ahead.first),
            remedy="correct or delete these rows where their clock was wrong, else set this device's clock",
        )
    said = isinstance(settings, CsvSettings) and settings.separator is not None
    if not said and (comma := torn(samples)) is not None:
        yield Finding(
            "decimal comma",
            f"can be understood in two ways: {comma.cells} is taken for {comma.as_two}, as a comma separates "
            f"the cells, and may be {comma.as_one} with a decimal comma",
            comma.column,
            first=samples.place(comma.row),
            remedy=comma.remedy,
        )
