"""How many workers take the tests, in which order: those of real processes lie evenly among the pure ones.

What is made while the tests are collected (modules, tests, fixtures) stays to the end: Python's garbage
collector looks neither for it then nor at it later.

The former mostly wait and the latter compute, so both kinds go on at the same time, whatever part of the
order a worker has got. What stands side by side in a module stays so, for it may share fixtures. One process
alone takes the tests as they are written.
"""

import gc
import os
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import chain, groupby

import pytest

MEMORY = 2**29
"""Bytes that a worker may take, with the programs that its tests start."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `--numprocesses auto` means; PYTEST_XDIST_AUTO_NUM_WORKERS says otherwise."""
    if given := os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return int(given)
    affinity = getattr(os, "sched_getaffinity", None)  # of Linux: a container may use fewer cores
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return workers(cores, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def workers(cores: int, memory: int) -> int:
    """Two for each core, as far as these bytes of memory suffice."""
    return max(1, min(2 * cores, memory // MEMORY))


def pytest_collection() -> None:
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)  # when it is known which tests are run
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # one of several workers
        items[:] = mixed(items)


def mixed(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The same tests, those marked `system` as evenly among the others as whole modules allow."""
    waiting = [item for item in items if item.get_closest_marker("system")]
    computing = [item for item in items if not item.get_closest_marker("system")]
    placed = merge(_placed(waiting), _placed(computing), key=lambda group: group[0])
    return list(chain.from_iterable(group for _, group in placed))


def _placed(items: Sequence[pytest.Item]) -> Iterator[tuple[float, list[pytest.Item]]]:
    """Each module's tests, and where their middle lies among all these tests, from 0 to 1."""
    before = 0
    for _, module in groupby(items, lambda item: item.path):
        group = list(module)
        yield (before + len(group) / 2) / len(items), group
        before += len(group)
