"""Draw the first weights of a layer."""

from math import prod, sqrt

import numpy as np
from numpy.typing import NDArray


def draw(weight: NDArray[np.floating], rng: "np.random.Generator", *, rectified: bool) -> None:
    """Fill `weight`, of shape (…, outputs), with the same numbers in every precision, except for rounding.

    Before a layer that zeroes half of its inputs: normal with variance 2 / fan-in (He, Zhang, Ren, Sun
    2015, "Delving Deep into Rectifiers", ICCV, equation 10). Any other: uniform in ±√(6 / (fan-in + outputs))
    (Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS, equation 16). The fan-in, the number of summands of each output, is the product of the other
    sides.

    Args:
        weight: the array to fill.
        rng: the source of randomness.
        rectified: whether a layer follows that zeroes half of its inputs.
    """
    fan_in, outputs = prod(weight.shape[:-1]), weight.shape[-1]
    if rectified:
        weight[...] = rng.normal(0.0, sqrt(2 / fan_in), weight.shape)
    else:
        limit = sqrt(6 / (fan_in + outputs))
        weight[...] = rng.uniform(-limit, limit, weight.shape)
