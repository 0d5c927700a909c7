"""Whether a file has only grown since it was read, so that reading can go on where it ended.

What was read before is compared by a checksum of all its bytes, a CRC-32: not of its head and its last block
alone, which an edit in the middle leaves as they are. It takes less than a hundredth of the time in which
the same bytes are parsed (`python -m benchmarks.growing_data`). A change within four bytes in a row is seen
for certain, any other one but for one case in 2³², unless its author means it not to be: the file is its
owner's. So the lines that were parsed still stand there, whoever has written in between, and also where
another file has taken the place of the first (a program that synchronises folders); nothing is proven of
what follows.
"""

from agent.sources.content import Content


class Growth:
    """One file, as far as it has been read."""

    def __init__(self, content: Content) -> None:
        self.state = content.state
        """As it was when it was last looked at."""
        self.end = 0
        """So many bytes have been read."""
        self._checksum = 0

    def take(self, content: Content) -> bool:
        """The rest is read now; returns whether there is a quote in it."""
        self._checksum, quotes = content.scan(self.end, content.end, self._checksum)
        self.end, self.state = content.end, content.state
        return quotes

    def continues(self, content: Content) -> bool:
        """Whether all that was read still stands there, and what follows begins with a line."""
        if content.end < self.end:
            return False
        if content.piece(self.end - 1, 2) == b"\r\n":  # one end of a line, of which half was there
            return False
        checksum, _ = content.scan(0, self.end)
        return checksum == self._checksum
