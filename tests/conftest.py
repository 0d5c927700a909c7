import logging
import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from fedge.algorithms.registry import REGISTRIES
from tests import order
from tests.flaky import pytest_collection_modifyitems, pytest_terminal_summary
from tests.order import pytest_xdist_auto_num_workers

__all__ = ["pytest_collection_modifyitems", "pytest_terminal_summary", "pytest_xdist_auto_num_workers"]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(order)
    # A shell lets what it runs in the background ignore SIGINT, and so would every program of the tests.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # The machine may be slow or busy; what a test asserts is never how long something took. The examples are
    # the same in every run, so that a change is judged by what it changed; FEDGE_EXPLORE=1 draws new ones.
    explore = os.environ.get("FEDGE_EXPLORE") == "1"
    settings.register_profile("fedge", deadline=None, derandomize=not explore)
    settings.load_profile("fedge")


@pytest.fixture(autouse=True)
def _parts_from_outside() -> Iterator[None]:
    """Take out what a test has registered: settings with `extensions` do so too, in this very process, and
    let Python look for modules in their folder."""
    path = sys.path[:]
    before = {kind: set(registry.names()) for kind, registry in REGISTRIES.items()}
    yield
    sys.path[:] = path
    for kind, registry in REGISTRIES.items():
        for name in set(registry.names()) - before[kind]:
            registry.remove(name)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Take back what a test that calls a program's `main` does to the root logger, whose stream then ends."""
    root = logging.getLogger()
    level, before = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
