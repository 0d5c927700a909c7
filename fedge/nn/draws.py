"""How first weights are drawn."""

from math import prod, sqrt

import numpy as np
from numpy.typing import NDArray


def draw(weight: NDArray[np.floating], rng: "np.random.Generator", *, rectified: bool) -> None:
    """Fill `weight`, of shape (…, outputs): with the same numbers in every precision, but for rounding.

    Before a layer that zeroes half of what it gets: normal with variance 2 / fan-in (He, Zhang, Ren, Sun
    2015, "Delving Deep into Rectifiers", ICCV, equation 10). Any other: uniform in ±√(6 / (fan-in + outputs))
    (Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS, equation 16). The fan-in, over which each output is a sum, is the product of the other sides.

    Args:
        weight: what is filled.
        rng: what draws.
        rectified: whether such a layer follows.
    """
    fan_in, outputs = prod(weight.shape[:-1]), weight.shape[-1]
    if rectified:
        weight[...] = rng.normal(0.0, sqrt(2 / fan_in), weight.shape)
    else:
        limit = sqrt(6 / (fan_in + outputs))
        weight[...] = rng.uniform(-limit, limit, weight.shape)
