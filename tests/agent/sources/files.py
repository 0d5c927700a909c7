"""What data files of tests are made of."""

import numpy as np

from agent.sources import Samples

SECRET = "s3cret"
"""Stands for contents: it must appear in no message."""


def texts(samples: Samples) -> dict[int, str]:
    return {column: fault.text for column, fault in samples.faults.items()}


X = np.ones((4, 2))
