"""Recognises the lines of a LabVIEW measurement before the column names of each segment.

Source: NI, "Specification for the LabVIEW Measurement File (.lvm)".
"""

from collections.abc import Sequence

from agent.sources.preambles import END, SPECIAL, SPECIAL_END

FILE = "LabVIEW Measurement"
"""The first cell of a file's header."""


class LabviewSegments:
    """Follows the headers of a file, line by line."""

    def __init__(self) -> None:
        self._before = "segment"
        """The part that is being read: `file` or `segment`, or the `header` or a `block` of a segment; empty:
        the next line holds the names, or they have been read."""

    def skips(self, cells: Sequence[str]) -> bool:
        """Return whether a line comes before the names of a segment, and follow it."""
        tag, where = cells[0], self._before
        if not where:
            return False
        if where in ("file", "header"):
            if tag == END:
                self._before = "segment" if where == "file" else ""
            return True
        if where == "block":
            self._before = "segment" if tag == SPECIAL_END else where
            return True
        self._before = {"Channels": "header", SPECIAL: "block"}.get(tag, where if not any(cells) else "")
        return bool(self._before)

    def begins(self, cells: Sequence[str]) -> bool:
        """Return whether a line among the rows begins another segment or another file; if so, follow it."""
        if cells[0] not in ("Channels", SPECIAL, FILE):
            return False
        self._before = "file" if cells[0] == FILE else "segment"
        self.skips(cells)
        return True
