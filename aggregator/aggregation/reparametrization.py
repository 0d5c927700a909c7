"""Another survey under the same model: weights that give the same answers with other frozen layers.

The frozen layers are affine, and so is what a dense layer does before its activation. With z = (x - m) / s
before the first dense layer and z' = (x - m') / s' in its place, x W + b is the same function for

    W'_j = W_j s'_j / s_j    and    b' = b + Σ_j W_j (m'_j - m_j) / s_j,

where W_j is row j. Behind the last dense layer of a regression, o s + m is the same for W' = W s / s' and
b' = (b s + m - m') / s', by columns. In exact arithmetic nothing else changes; here it is computed in
float64 and rounded once to float32, as weights are. The result is a function of the arguments, bit for bit.

Where inputs are clipped, both networks do it at the same number of their own deviations: the answers are the
same for every row that neither of them clips. A bound in the units of the old layers would keep what one
device's survey has made of them, which is what is being taken out.
"""

import numpy as np
from numpy.typing import NDArray

from fedge.nn.schema import Schema
from fedge.nn.spec import NetworkSpec, Rescale, Standardize

Vector = NDArray[np.float32]


def fold(before: NetworkSpec, after: NetworkSpec, vector: Vector) -> Vector | None:
    """The weights that compute in `after` what `vector`, of shape (p,), computes in `before`.

    Both networks have the same trained layers, and frozen ones in the same places.

    Returns:
        Weights of shape (p,), or None if one of them is not finite as float32: then the model cannot be kept.
    """
    wide = vector.astype(np.float64)
    with np.errstate(all="ignore"):
        _fold_first(before, after, wide)
        _fold_last(before, after, wide)
        folded = wide.astype(np.float32)
    return folded if np.isfinite(folded).all() else None


def _fold_first(before: NetworkSpec, after: NetworkSpec, wide: NDArray[np.float64]) -> None:
    old, new = before.layers[0], after.layers[0]
    if not isinstance(old, Standardize) or not isinstance(new, Standardize):
        return
    weight, bias = _dense(before.schema, wide, 0)
    scale = old.scales.astype(np.float64)
    shift = (new.exact_means - old.exact_means) / scale
    for each, row in zip(shift, weight, strict=True):  # in this order on every machine, as no BLAS promises
        bias += each * row
    weight *= (new.scales / scale)[:, None]


def _fold_last(before: NetworkSpec, after: NetworkSpec, wide: NDArray[np.float64]) -> None:
    old, new = before.layers[-1], after.layers[-1]
    if not isinstance(old, Rescale) or not isinstance(new, Rescale):
        return
    weight, bias = _dense(before.schema, wide, len(before.schema.parameters) // 2 - 1)
    scale = new.scales.astype(np.float64)
    bias[:] = (bias * old.scales + (old.means.astype(np.float64) - new.means)) / scale
    weight *= old.scales / scale


def _dense(
    schema: Schema, wide: NDArray[np.float64], index: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Views of a dense layer's weights, of shape (inputs, units), and of its biases, of shape (units,)."""
    views = schema.views(wide)
    return views[f"{index}.weight"], views[f"{index}.bias"]
