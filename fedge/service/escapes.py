"""Makes text from outside safe to show."""

import re

OBEYED = (
    r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
"""Characters that a terminal or a log interprets instead of showing them, as ranges of a pattern."""
_ESCAPED = re.compile(rf"[{OBEYED}\ud800-\udfff]")
"""These characters, and bytes of a path that are not UTF-8."""


def printable(text: str) -> str:
    """Return a text as one line that is safe in every message, terminal and log.

    Control characters (line ends too), marks that change the direction of writing, and bytes of a path that
    are not UTF-8 become escapes. Applying it twice gives the same text.
    """
    return _ESCAPED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
