"""Warnings of a simulation: printed if it succeeds; dropped if it raises an error, which says more."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler

PROGRAMS = ("fedge", "agent", "aggregator")
"""The loggers of all programs."""
MOST = 100_000
"""The largest number of warnings that are held back; further ones are printed at once."""


@contextmanager
def held_back() -> Iterator[None]:
    """Hold warnings back until the block has succeeded, where the caller has configured no logging.

    With no handler configured, Python prints warnings to standard error as they come.
    """
    if logging.getLogger().hasHandlers() or logging.lastResort is None:
        yield
        return
    handler = MemoryHandler(MOST, logging.CRITICAL + 1, logging.lastResort, flushOnClose=False)
    handler.setLevel(logging.lastResort.level)
    loggers = [logger for name in PROGRAMS if not (logger := logging.getLogger(name)).hasHandlers()]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
        handler.flush()
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()
