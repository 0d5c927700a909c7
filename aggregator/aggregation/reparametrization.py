"""Another survey under the same model: weights that give the same answers with other frozen layers.

The frozen layers are affine, and so is what a dense layer does before its activation. With z = (x - m) / s
before the first dense layer and z' = (x - m') / s' in its place, x W + b is the same function for

    W'_j = W_j s'_j / s_j    and    b' = b + Σ_j W_j (m'_j - m_j) / s_j,

where W_j is row j. Behind the last dense layer of a regression, o s + m is the same for W' = W s / s' and
b' = (b s + m - m') / s', by columns. In exact arithmetic nothing else changes; here it is computed in
float64 and rounded once to float32, as weights are. The result is a function of the arguments, bit for bit.

If inputs are clipped, both networks clip at the same number of their own deviations: the answers are the same
for every row that neither of them clips. A bound in the units of the old layers would depend on the survey
that is being removed.

The layer beside a frozen one takes up the change (`take_before` and `take_behind` of
`fedge.nn.layer.LayerSpec`). Some layers cannot: for example, behind an activation no such weights exist.
"""

import numpy as np
from numpy.typing import NDArray

from fedge.nn.spec import NetworkSpec

Vector = NDArray[np.float32]


def fold(before: NetworkSpec, after: NetworkSpec, vector: Vector) -> Vector | None:
    """The weights that compute in `after` what `vector`, of shape (p,), computes in `before`.

    Both networks have the same trained layers, and frozen ones in the same places.

    Returns:
        Weights of shape (p,); None if the model cannot be kept, because a weight is not finite as float32 or
        the layer beside a frozen one cannot take up the change.
    """
    wide = vector.astype(np.float64)
    with np.errstate(all="ignore"):
        if not _fold_first(before, after, wide) or not _fold_last(before, after, wide):
            return None
        folded = wide.astype(np.float32)
    return folded if np.isfinite(folded).all() else None


def _fold_first(before: NetworkSpec, after: NetworkSpec, wide: NDArray[np.float64]) -> bool:
    old, new, lowest = before.first, after.first, before.placed[0]
    if old is None or new is None:
        return True
    scale = old.scales.astype(np.float64)
    shift = (new.exact_means - old.exact_means) / scale
    return lowest.layer.take_before(lowest.views(wide), new.scales / scale, shift)


def _fold_last(before: NetworkSpec, after: NetworkSpec, wide: NDArray[np.float64]) -> bool:
    old, new, highest = before.last, after.last, before.placed[-1]
    if old is None or new is None:
        return True
    scale = new.scales.astype(np.float64)
    shift = old.means.astype(np.float64) - new.means
    return highest.layer.take_behind(highest.views(wide), old.scales.astype(np.float64), shift, scale)
