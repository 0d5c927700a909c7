"""Detects whether a file has only grown since it was read, so that reading can continue where it ended.

The part that was read before is compared by a CRC-32 of all its bytes. A check of only the head and the last
block would miss an edit in the middle. The CRC-32 takes less than a hundredth of the time in which the same
bytes are parsed (`python -m benchmarks.growing_data`). It always detects a change within four consecutive
bytes, and any other change except for one case in 2³². It does not defend against a deliberate change: the
file is its owner's. If the CRC-32 is the same, the lines that were parsed are still there, even if another
program has written in between or has replaced the file (as programs that synchronise folders do). It proves
nothing about the bytes after them.
"""

from agent.sources.content import Content


class Growth:
    """One file, as far as it has been read."""

    def __init__(self, content: Content) -> None:
        self.state = content.state
        """Its fingerprint when it was last examined."""
        self.end = 0
        """How many bytes have been read."""
        self._checksum = 0

    def take(self, content: Content) -> bool:
        """Record that the rest of the file is read now; return whether it contains a quote."""
        self._checksum, quotes = content.scan(self.end, content.end, self._checksum)
        self.end, self.state = content.end, content.state
        return quotes

    def continues(self, content: Content) -> bool:
        """Whether all bytes that were read are still there, and the rest begins on a new line."""
        if content.end < self.end:
            return False
        if content.piece(self.end - 1, 2) == b"\r\n":  # the last read ended within a line end
            return False
        checksum, _ = content.scan(0, self.end)
        return checksum == self._checksum
