"""The machine a benchmark runs on."""

import multiprocessing
import os
import platform
import socket
import time
from multiprocessing.connection import Connection
from statistics import median

import numpy as np

SLICE_S, TURNS = 1.0, 3


def description() -> str:
    """Cores, architecture, Python version and present load, to print beside the figures."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, load {load:.1f}"
    )


def free_port() -> int:
    """A free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether a program accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def gain_of_two() -> float:
    """How much more two processes compute at once than one alone: 2 if they do not disturb each other.

    Two processors may be two threads of one core, and then it is little more than 1. The work is that of a
    small network's training: products and maxima of float32 that fit into the cache. One and two processes
    take turns; the median of the ratios counts.
    """
    found = []
    for _ in range(TURNS):
        alone = sum(_at_once(1))
        found.append(sum(_at_once(2)) / alone)
    return median(found)


def _at_once(number: int) -> list[int]:
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(number)]
    processes = [context.Process(target=_compute, args=(there,)) for _, there in pipes]
    for process in processes:
        process.start()
    for here, _ in pipes:
        here.recv()  # it is ready
    for here, _ in pipes:
        here.send(None)
    done = [int(here.recv()) for here, _ in pipes]
    for process in processes:
        process.join()
    return done


def _compute(pipe: Connection) -> None:
    """Compute for `SLICE_S` seconds once the pipe says so, and send how often."""
    x, w = np.ones((10, 64), np.float32), np.full((64, 64), 1 / 64, np.float32)
    y, done = np.empty((10, 64), np.float32), 0
    pipe.send(None)
    pipe.recv()
    end = time.monotonic() + SLICE_S
    while time.monotonic() < end:
        for _ in range(1_000):
            x.dot(w, y)
            np.maximum(y, 0, out=y)
        done += 1
    pipe.send(done)
