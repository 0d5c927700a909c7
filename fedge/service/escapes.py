"""Text of others, made fit to be shown."""

import re

OBEYED = (
    r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
"""What a terminal or a log obeys instead of showing it, as ranges of a pattern."""
_ESCAPED = re.compile(rf"[{OBEYED}\ud800-\udfff]")
"""That, and bytes of a path that are not UTF-8."""


def printable(text: str) -> str:
    """Text as one line that every message, terminal and log takes.

    Control characters, line ends among them, marks that turn the direction of writing, and bytes of a path
    that are not UTF-8 become escapes. Nothing changes if it is done again.
    """
    return _ESCAPED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
