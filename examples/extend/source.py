"""A source of one's own: a function that returns this device's samples each time it is called.

In `agent.toml`: `[data]`, `source = "python"`, `callable = "source:read"`, and `path`, the folder of this
file; in a notebook: `Agent(settings, source=read)`. It runs in the agent, before each round.
"""

import numpy as np
from numpy.typing import NDArray

WINDOW = 50
"""Readings of the vibration sensor that one sample summarizes."""


def read() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Windows of the sensor's log as X of shape (n, 3) with mean, spread and range, and y with a class index.

    Here the log is made up: a healthy machine, and one whose bearing is worn.
    """
    rng = np.random.default_rng(3)
    worn = np.arange(80) % 2
    log = rng.normal(0.0, 1.0 + worn[:, None], (80, WINDOW))
    X = np.stack([log.mean(axis=1), log.std(axis=1), np.ptp(log, axis=1)], axis=1)
    return X, worn
