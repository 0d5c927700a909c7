"""Writes logs to stderr: one line for each event, with priorities if journald reads them.

Records may quote text from the network. It is escaped, so it cannot begin a line of its own, choose a line's
priority, or control a terminal.
"""

import logging
import os
import sys
from types import TracebackType

from fedge.service.escapes import printable

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Line(logging.Formatter):
    """Format a record as one line; the lines of a traceback are indented, so that none looks like a
    record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 # logging's name
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 # logging's name
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"    {printable(line)}" for line in lines)


class _Journal(_Line):
    """Put a priority before each line, as journald reads it."""

    def format(self, record: logging.LogRecord) -> str:
        priority = PRIORITIES.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


def tell(*, verbose: bool = False) -> None:
    """Send logs to stderr. Under systemd lines have priorities, but no times, because the journal adds them.

    Args:
        verbose: whether to log every step (DEBUG).
    """
    handler = logging.StreamHandler(sys.stderr)
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_Journal("%(message)s"))
    else:
        handler.setFormatter(_Line("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
