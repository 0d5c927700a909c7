"""JSON lines: one flat object in each line, as loggers of MQTT messages write them."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from agent.sources.content import Content
from agent.sources.records import Bad, is_utf8
from agent.sources.table_reader import Header, Row
from fedge.data.disclosure import public
from fedge.errors import DataError

MANY, SPARSE = 200, 0.05
"""If there are more than `MANY` keys, an object must have at least the share `SPARSE` of them on average.
Otherwise the keys are probably times or ids, and there would be a column for each line."""


class JsonTables:
    """The one table of a file of JSON lines. Its columns are the keys of all objects, in the order of
    their first appearance. A key that an object lacks is a missing value.

    Args:
        file: the file, for messages.
        content: its content.
        skip: the number of lines at the top to skip.
        texts: the columns of texts, in which true and false stay as they are. In other columns they become 1
            and 0.
    """

    def __init__(self, file: Path, content: Content, skip: int, texts: Collection[str | None]) -> None:
        self._file = file
        self._skip, self._texts = skip, texts
        self._content, self._start, self._line = content, 0, 0
        """The content to read, the first byte, and the number of lines before it."""
        self._header: Header | None = None
        self._names: dict[str, None] = {}
        self._objects = self._filled = 0
        self.first_bad: Bad | None = None
        self.bad = 0

    def passed_over(self) -> tuple[str, ...]:
        """Describe the lines that were not rows, for the owner: there are none."""
        return ()

    def go_on(self, content: Content, start: int, has_quotes: bool) -> bool:
        """Let `blocks` continue with the new part; return whether it can."""
        self._content, self._start = content, start
        return True

    def blocks(self, size: int) -> Iterator[tuple[Header, list[Row]]]:
        """Iterate over blocks of at most `size` rows. The first block is empty.

        Raises:
            DataError: nearly every object has keys of its own, so that keys cannot be columns.
        """
        line, bad, first_bad = self._line, self.bad, self.first_bad
        for _, found in self._read():
            self._names.update(dict.fromkeys(found))
            self._objects, self._filled = self._objects + 1, self._filled + len(found)
        names, objects, filled = self._names, self._objects, self._filled
        if len(names) > MANY and filled < SPARSE * len(names) * objects:
            told = public(
                "the objects have {keys} different keys, on average {mean} each",
                keys=len(names),
                mean=round(filled / objects, 1),
            )
            raise DataError(
                f"{self._file}: {told}; each key becomes a column, so write times and ids as values, with "
                "the same keys in each line",
                told,
            )
        if not names:
            return
        self._line, self.bad, self.first_bad = line, bad, first_bad  # the same lines are read once more
        if self._header is None or len(self._header.names) < len(names):
            self._header = Header(1, tuple(names))
        header = self._header
        yield header, []
        block: list[Row] = []
        for number, found in self._read():
            block.append((number, [self._cell(name, found.get(name)) for name in names]))
            if len(block) >= size:
                yield header, block
                block = []
        if block:
            yield header, block

    def _read(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Iterate over the objects, each with its line."""
        for raw in self._content.text(self._start):
            self._line += 1
            if self._line <= self._skip or not raw.strip():
                continue
            try:
                found = json.loads(
                    raw, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_object
                )
            except (ValueError, RecursionError):
                found = None
            if not isinstance(found, dict) or not is_utf8(raw):
                self._leave_out(self._line, raw)
                continue
            yield self._line, found

    def _leave_out(self, line: int, raw: str) -> None:
        self.bad += 1
        if self.first_bad is None:
            nul = "\0" in raw
            what = (
                public("NUL bytes, perhaps from a power cut")
                if nul
                else public("not a JSON object with each key once")
            )
            self.first_bad = Bad(line, what)

    def _cell(self, name: str, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            return str(value).lower() if name in self._texts else str(int(value))
        return value if isinstance(value, str) else "[…]"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = {key.strip(): value for key, value in pairs}
    if len(found) < len(pairs):
        raise ValueError
    return found
