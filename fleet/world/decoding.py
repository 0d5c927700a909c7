"""What many hosts of a world read is decoded once: a pure function of the bytes, whose values are frozen."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import agent.runtime
import aggregator.opening
import aggregator.runtime
from fedge.messages import unpack

decode = lru_cache(maxsize=None)(unpack)
"""As `fedge.messages.unpack`; what it raises, it raises each time anew."""


@contextmanager
def once() -> Iterator[None]:
    """Let the programs decode so while one world runs."""
    programs = (agent.runtime, aggregator.opening, aggregator.runtime)
    for program in programs:
        vars(program)["unpack"] = decode
    try:
        yield
    finally:
        for program in programs:
            vars(program)["unpack"] = unpack
        decode.cache_clear()
