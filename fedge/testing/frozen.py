"""The part of `check_layer` that is for frozen layers (`fedge.nn.affine`)."""

from math import prod

import numpy as np

from fedge.nn.affine import Affine
from fedge.nn.schema import Shape
from fedge.testing.laws import require, same
from fedge.testing.operators import NEAR, check_operators, near

ROWS = 5


def check_frozen(spec: Affine, shape: Shape, rng: np.random.Generator) -> None:
    """Check the laws that a frozen layer has.

    Raises:
        BrokenLaw: it breaks one.
    """
    where = f"on samples of shape {shape}"
    require(spec.output(shape) == shape, "shape", f"a frozen layer keeps the shape, not {spec.output(shape)}")
    require(
        spec.stands in ("first", "last"), "shape", f"a frozen layer stands first or last, not {spec.stands}"
    )
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        transform = spec.transform(dtype)
        x = rng.standard_normal((ROWS, prod(shape)))
        if spec.stands == "first":
            x = x * spec.scales + spec.exact_means
        x = x.astype(transform.dtype)
        kept = x.copy()
        y = transform.forward(x)
        require(y.shape == x.shape, "shape", f"the output is {y.shape} {where}")
        require(y.dtype == dtype, "precision", f"the output is {y.dtype} for {dtype} {where}")
        require(same(x, kept), "arguments", f"an argument has changed {where}")
        require(same(transform.forward(x), y), "repeated", f"the second time it is another one {where}")
        require(np.isfinite(y).all(), "finite", where)
        alone = np.concatenate([transform.forward(row[None]) for row in x])
        require(near(alone, y), "rows", f"rows alone are others {where}")
        scale = np.abs(x).max(axis=0)
        inside = (np.abs(y) < spec.bound) if spec.bound is not None else np.ones_like(y, np.bool_)
        back = np.where(inside, np.abs(transform.invert(y) - x), 0) / scale
        require(back.max() <= NEAR, "inverse", f"off by {back.max():.1e} of its size {where}")
        if dtype == np.float32:
            check_operators(spec.operators(shape), {}, x, y, where)
            if spec.stands == "first":
                holes, filled = x.copy(), x.copy()
                np.fill_diagonal(holes, np.nan)
                np.copyto(filled, spec.exact_means.astype(x.dtype), where=np.isnan(holes))
                y = transform.forward(filled)
                check_operators(spec.operators(shape, fills=True), {}, holes, y, f"with gaps {where}")
