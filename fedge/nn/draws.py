"""How first weights are drawn."""

from math import sqrt

import numpy as np

from fedge.nn.layer import Array, LayerSpec


def draw(
    weight: Array, fan_in: int, fan_out: int, following: LayerSpec | None, rng: np.random.Generator
) -> None:
    """Fill `weight`, of any shape: with the same numbers in every precision, but for rounding.

    Before a layer that zeroes half of what it gets: normal with variance 2 / fan-in (He, Zhang, Ren, Sun
    2015, "Delving Deep into Rectifiers", ICCV, equation 10). Any other: uniform in
    ±√(6 / (fan-in + fan-out)) (Glorot, Bengio 2010, "Understanding the difficulty of training deep
    feedforward neural networks", AISTATS, equation 16).

    Args:
        weight: what is filled.
        fan_in: how many numbers each output is a sum over.
        fan_out: in how many outputs each input counts.
        following: the layer behind these weights.
        rng: what draws.
    """
    if following is not None and following.rectifies:
        weight[...] = rng.normal(0.0, sqrt(2 / fan_in), weight.shape)
    else:
        limit = sqrt(6 / (fan_in + fan_out))
        weight[...] = rng.uniform(-limit, limit, weight.shape)
