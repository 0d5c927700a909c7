"""The weights that training starts from."""

from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fedge.nn.spec import NetworkSpec


def initialize(spec: NetworkSpec, rng: "np.random.Generator", dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Draw a new flat vector of shape (p,): the same weights in every `dtype`, except for rounding.

    Each layer draws its own, in order (`fedge.nn.layer.LayerSpec.initialize`).
    """
    vector = np.zeros(spec.schema.size, dtype)
    following = (*spec.core[1:], spec.last)
    for placed, behind in zip(spec.placed, following, strict=True):
        placed.layer.initialize(placed.views(vector), placed.inputs, behind, rng)
    return vector


def first_weights(spec: NetworkSpec, seed: int, generation: int) -> NDArray[np.float32]:
    """The first model of a generation, of shape (p,): it depends only on the arguments."""
    digest = sha256(f"first weights|{seed}|{generation}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    return initialize(spec, generator).astype(np.float32, copy=False)
