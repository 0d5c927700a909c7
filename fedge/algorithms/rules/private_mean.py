"""The mean of clipped changes with discrete Gaussian noise: differential privacy of each device.

`fedge.privacy.mechanism` says how, with its papers, its sensitivity and the bound on one device's influence;
`fedge.privacy.adaptive_clip` how the clip follows a quantile.

Each device counts the same: a sample count is the device's secret too. `counted` is empty, because the factor
of a clipped update tells its length.

**By itself the rule keeps no promise.** The aggregator chooses it for `[privacy]` in federation.toml alone,
and what runs it does the following (docs/privacy.md):

* it draws a secret seed of 256 bits for each computation of a sum, and puts it into the state as
  `noise_seed`, uint8 of shape (32,). Without it `aggregate` refuses. A seed serves one set of updates;
* it charges the budget (`fedge.privacy.budget`) with the model, before the model is announced;
* it gives the rule the updates as they were sent: not clipped at, weighed by or refused for the medians of a
  round, which let one device change how the others count; no outlier is set aside;
* it announces nothing else that is computed from rows: surveys, losses, accuracies, counts, `seen` classes,
  and the vectors besides the weights have no noise.

The state is {"clip": C}, float64 of shape (1,), which is public.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.protocols import Combined, Rule, State, Updates
from fedge.algorithms.registry import Entry, Need, Options
from fedge.algorithms.rules.bounds import distance
from fedge.privacy.adaptive_clip import AdaptiveClip
from fedge.privacy.mechanism import MOST_DEVICES, Grid, Sum
from fedge.privacy.randomness import Expanded

CLIP, SEED = "clip", "noise_seed"
"""The names in the state."""


class PrivateMeanOptions(Options):
    """Options of the private mean; all are public."""

    clip: float = Field(gt=1e-30, le=1e30)
    """S, the length that a device's change is shortened to; with a quantile, that of the first round."""
    noise_multiplier: float = Field(gt=0, le=1000)
    """z: the noise of a round is z times what one device can change, whatever else is chosen."""
    cohort: int = Field(ge=1, le=MOST_DEVICES)
    """m, the number of devices that the sum is divided by; a round with more is refused."""
    grid_bits: int = Field(default=20, ge=8, le=24)
    """b: the clip has 2^b steps."""
    quantile: float | None = Field(default=None, ge=0.01, le=0.99)
    """γ, to the nearest hundredth: the clip follows this quantile of the lengths; None: it stays."""
    clip_rate: float = Field(default=0.2, gt=0, le=1)
    """η: the most that the logarithm of the clip changes in a round."""
    clip_noise: float | None = Field(default=None, gt=0, le=1e9)
    """σ_b, the noise in the count of devices whose change is no longer than the clip; None: m / 20."""


class PrivateMean(Rule):
    """base + step · (Σ x_k + noise) / m; two passes where the clip adapts, else one."""

    version = "private-mean/1"
    memory = 0

    def __init__(self, options: PrivateMeanOptions) -> None:
        self._options = options
        self._adaptive: AdaptiveClip | None = None
        self._multiplier = options.noise_multiplier
        if options.quantile is not None:
            noise = options.cohort / 20 if options.clip_noise is None else options.clip_noise
            quantile = Fraction(round(100 * options.quantile), 100)
            self._adaptive = AdaptiveClip(
                quantile, Fraction(options.clip_rate), Fraction(noise), options.cohort
            )
            self._multiplier = self._adaptive.update_multiplier(options.noise_multiplier)

    def init(self, size: int) -> State:
        """The first round's clip."""
        return {CLIP: np.array([self._options.clip])}

    def aggregate(self, updates: Updates, base: NDArray[np.float32], state: State) -> Combined:
        """The noised mean, rounded once to the type of the base.

        Raises:
            ValueError: the state has no seed of 32 bytes, or more devices than declared have sent updates.
        """
        cohort, seed = self._options.cohort, _seed(state)
        if len(updates) > cohort:
            raise ValueError(
                f"{len(updates)} updates, and a cohort of {cohort} is declared: what was accounted for does "
                "not hold for more"
            )
        clip = float(state[CLIP][0])
        grid = Grid(clip, updates.size, self._options.grid_bits)
        total, within = np.zeros(updates.size, np.int64), 0
        for each in updates.lanes():
            total += grid.rounded(base, each.vector)
            if self._adaptive is not None:
                within += distance(base, each.vector) <= clip  # of NaN: no
        noised = Sum(total).noised(grid.noise_variance(self._multiplier), Expanded(seed, "updates"))
        if self._adaptive is not None:
            source = Expanded(seed, "clip")
            clip = self._adaptive.following(clip, within, len(updates), source, self._options.clip)
        vector = grid.moved(base, noised, cohort).astype(base.dtype)
        return Combined(vector, state={CLIP: np.array([clip])})


def _seed(state: State) -> bytes:
    seed = state.get(SEED)
    if seed is None or seed.dtype != np.uint8 or seed.shape != (32,):
        raise ValueError(
            f"no secret seed for the noise of this round: `{SEED}` in the state, 32 bytes, expected. "
            "Nothing is released without noise"
        )
    return seed.tobytes()


PRIVATE_MEAN = Entry(
    "rule",
    "private-mean",
    PrivateMean,
    PrivateMeanOptions,
    needs=(
        Need("local", ("sgd", "prox"), why="each other vector that a device sends needs its own noise"),
        Need("server", ("average", "momentum", "adagrad", "adam", "yogi")),
        Need("personal", ("none", "finetune", "ditto", "head"), why="the clusters' counts have no noise"),
    ),
)
"""It is not named `ENTRY`: the registry has it once something that keeps its promises registers it."""
