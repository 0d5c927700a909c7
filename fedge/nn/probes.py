"""The inputs on which weights are tried: at closing, and when a model is exported."""

import numpy as np
from numpy.typing import NDArray

from fedge.nn.spec import NetworkSpec

ROWS = 64

Samples = NDArray[np.float32] | NDArray[np.float64]


def probes(spec: NetworkSpec, samples: Samples | None = None) -> Samples:
    """Raw samples (n, d): 64 drawn from the statistics of the frozen first layer, then `samples`, if any.

    They are float64 if that layer takes float64, else float32.
    """
    X: Samples = np.random.default_rng(0).standard_normal((ROWS, spec.inputs), dtype=np.float32)
    first = spec.first
    if first is not None:
        X = X * first.scales + (first.exact_means if first.takes_float64 else first.means)
    return X if samples is None else np.concatenate((X, samples.astype(X.dtype, copy=False)))
