"""The weights that learning starts from."""

from hashlib import sha256
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


def first_weights(spec: NetworkSpec, seed: int, generation: int) -> NDArray[np.float32]:
    """The model that the training of a generation begins with, of shape (p,): a function of its arguments."""
    digest = sha256(f"first weights|{seed}|{generation}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    return initialize(spec, generator).astype(np.float32, copy=False)
