"""The weights that learning starts from."""

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fedge.nn.spec import Dense, NetworkSpec, ReLU


def initialize(spec: NetworkSpec, rng: np.random.Generator, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Draw a new flat vector of shape (p,): the same weights in every `dtype`, but for rounding.

    A dense layer followed by ReLU: normal with variance 2 / inputs (He, Zhang, Ren, Sun 2015, "Delving Deep
    into Rectifiers", ICCV, equation 10). Any other: uniform in ±√(6 / (inputs + units)) (Glorot, Bengio 2010,
    "Understanding the difficulty of training deep feedforward neural networks", AISTATS, equation 16).
    Biases are zero.
    """
    schema = spec.schema
    vector = np.zeros(schema.size, dtype)
    weights = (view for name, view in schema.views(vector).items() if name.endswith(".weight"))
    for layer, following in zip(spec.layers, (*spec.layers[1:], None), strict=True):
        if not isinstance(layer, Dense):
            continue
        weight = next(weights)
        inputs, units = weight.shape
        if isinstance(following, ReLU):
            weight[...] = rng.normal(0.0, sqrt(2 / inputs), weight.shape)
        else:
            limit = sqrt(6 / (inputs + units))
            weight[...] = rng.uniform(-limit, limit, weight.shape)
    return vector
