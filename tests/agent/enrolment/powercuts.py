"""Die before any operation that changes the disk, or that is heard outside."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


class Crash(BaseException):
    """The power is cut."""


@contextmanager
def crash_at(step: int, program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Die before the `step`-th operation, counted from 0; gives the names of those that were done.

    Args:
        step: which one.
        program: the module whose `ask` is what is heard outside.
        monkeypatch: pytest's.
    """
    done: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            if len(done) == step:
                raise Crash(name)
            done.append(name)
            return real(*arguments, **options)

        return wrapper

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda _descriptor: None)  # the disk itself lives on, and is slow
        for owner, name in [
            (os, "open"), (os, "fsync"), (os, "unlink"), (os, "rmdir"), (os, "mkdir"),
            (os, "rename"), (os, "link"), (Path, "mkdir"), (shutil, "rmtree"), (program, "ask"),
        ]:  # fmt: skip
            patched.setattr(owner, name, counted(name, getattr(owner, name)))
        yield done
