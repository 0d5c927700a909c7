"""A source of your own: a function that returns this device's samples each time the agent calls it.

In `agent.toml` set in `[data]`: `source = "python"`, `callable = "source:read"`, and `path`, the folder of
this file. In a notebook use `Agent(settings, source=read)`. The agent calls the function before each round.
"""

import numpy as np
from numpy.typing import NDArray

WINDOW = 50
"""The number of the vibration sensor's readings that one sample summarizes."""


def read() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return windows of the sensor's log: X of shape (n, 3) with mean, spread and range, and y of shape (n,).

    The log of this example is invented: a healthy machine, and one with a worn bearing.
    """
    rng = np.random.default_rng(3)
    worn = np.arange(80) % 2
    log = rng.normal(0.0, 1.0 + worn[:, None], (80, WINDOW))
    X = np.stack([log.mean(axis=1), log.std(axis=1), np.ptp(log, axis=1)], axis=1)
    return X, worn
