"""What is odd about the files of a device: parts of a log that are not read, commas between cells. Pure."""

import json
from collections.abc import Iterator
from pathlib import Path

from agent.finding import Finding
from agent.settings.data import DataSettings
from agent.settings.sources import CsvSettings
from agent.sources.commas import torn
from agent.sources.samples import Samples
from fedge.disclosure import listing


def about_files(samples: Samples, settings: DataSettings) -> Iterator[Finding]:
    """Older parts of the same log that are not read, and a comma that may be a decimal one."""
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
