"""Centered clipping: each change counts up to a radius around the change of the last round.

Karimireddy, He and Jaggi 2021, "Learning from History for Byzantine Robust Optimization", ICML,
https://arxiv.org/abs/2012.10333, Algorithm 2 and equation (9). With the changes d_k = w_k - base, the rule's
state v (at first 0) and the radius τ

    v ← v + 1/n Σ (d_k - v) min(1, τ / ‖d_k - v‖)        `iterations` times;    result = base + v,

and v is the state of the next round.

**Needs** n ≥ 2 f + 1 updates to be of use; the paper's rate of convergence is proved for n ≥ 10 f.

**Assumes** that honest changes are within about τ of the last one. In the paper each device sends a momentum,
which makes that so: `[plan] local = "momentum"` does. The rule does not need it, because its bound holds for
a single round, whatever is sent; and where a device takes part in few rounds its momentum is old.

**Radius.** Without the option `radius`, τ is the lower median of the ‖d_k - v‖, in each iteration anew, so it
needs no guess. It lies between the smallest and the largest honest one, because more than half of the updates
are honest. With the option it is a length in the units of the weights: the smaller, the less a liar can do
and the slower the model may move.

**Bound.** In each iteration v moves by at most τ, by all devices together, and each device adds at most τ /
n. With an absolute τ and L iterations, whatever f liars send instead of anything else, the result moves by at
most 2 L f τ / n. Proof idea: the map v ↦ v + (d - v) min(1, τ / ‖d - v‖) does not increase distances, so
neither does the mean of such maps. In each iteration f of n terms differ, each by at most 2 τ, and the
differences add up.

Without it and with L = 1, let a and b be the smallest and the largest honest ‖d_k - v‖: the result moves by
at most 2 f b / n + (b - a) (n - f) / n, of which the second term is how far τ itself can be moved.

**State**: one vector, which a new generation begins at 0. **Cost** O(n p) an iteration: two iterations over
the rows; a buffer of 32 MiB at most.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Entry, Need
from fedge.algorithms.rules.robust import Made, Robust, RobustOptions
from fedge.algorithms.rules.rows import Rows, clipped_mean, distances, factors

CENTER = "center"
"""The name of the state: v, of shape (p,), in float32."""


class CenteredClippingOptions(RobustOptions):
    """Options of centered clipping."""

    radius: float | None = Field(default=None, gt=0, le=1e9, allow_inf_nan=False)
    """τ, the length up to which a difference from the center counts, in the units of the weights. Without it,
    the median of these lengths in the round."""
    iterations: int = Field(default=1, ge=1, le=100)
    """How often the center is moved in a round."""


class CenteredClipping(Robust):
    """The center, moved by clipped differences; a device counts by the factor of its last difference."""

    name = "centered-clipping"

    def __init__(self, options: CenteredClippingOptions) -> None:
        super().__init__(options)
        self._radius, self._iterations = options.radius, options.iterations

    def init(self, size: int) -> State:
        """The center: no change."""
        return {CENTER: np.zeros(size, np.float32)}

    def combine(self, rows: Rows, f: int, base: NDArray[np.float32], state: State) -> Made:
        """Move the center as often as the option says."""
        start = base.astype(np.float64)
        point = start + state[CENTER]
        parts = [1.0] * rows.number
        for _ in range(self._iterations):
            far = distances(rows, point)
            parts = factors(far, self._radius)
            point = clipped_mean(rows, point, parts)
        return Made(point, parts, {CENTER: (point - start).astype(np.float32)})


ENTRY = Entry(
    "rule",
    "centered-clipping",
    CenteredClipping,
    CenteredClippingOptions,
    needs=(
        Need("personal", ("none", "ditto", "finetune", "head"), why="its state belongs to one shared model"),
    ),
)
