"""How the C library hands out memory to this program."""

import ctypes
from contextlib import suppress

M_ARENA_MAX = -8
"""The parameter's number in `mallopt(3)` of the GNU C library."""


def use_one_heap() -> None:
    """Let all threads take memory from one heap; call it before there are threads.

    By default each thread has one of its own. What one thread allocates and another one frees, such as a
    message that arrives, then stays in the first one's heap: an aggregator takes some 15 MB more. Python's
    threads seldom allocate at the same moment, so one heap costs no time. Other C libraries have no such
    parameter, and nothing happens.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
