"""A plan to begin with, from a survey's row counts, and its classes where owners agreed. Pure.

A device that trains for long between two means goes its own way: the more its rows differ from the others',
the sooner the mean of such models is worse than what a few steps more often would have made (client drift:
Karimireddy et al. 2020, "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", ICML, section
3; Li et al. 2020, "On the Convergence of FedAvg on Non-IID Data", ICLR, theorem 1). One that trains for a
few steps only wastes rounds (McMahan et al. 2017, AISTATS, figure 2). What counts for both is not the
epochs but the steps between two means, K = E · ceil(n_k / B). So the epochs proposed are those that make K
about `STEPS`: many where devices hold few rows, one where they hold many. How far devices differ cannot be
seen from sizes; this number does well for devices that differ much, and loses little for those that do not.
`python -m benchmarks.plans` measures both, and docs/evidence/plans.md shows the curves.

Where owners let their devices tell how many rows they have of each class, it is seen
(`aggregator.core.mixes`). Classes that hardly differ allow `STEPS_ALIKE`, which reach the same accuracy in
fewer rounds. Where they differ much, a plan of more steps than `STEPS` is told of sooner, and that one pass
is the next to try.
"""

from collections.abc import Collection
from dataclasses import dataclass
from statistics import median_low

from aggregator.core.mixes import Mix
from fedge.algorithms.plan import Plan

STEPS, STEPS_ALIKE = 25, 50
"""Local steps between two means, about; and where classes are known to differ little."""
BATCH = 16
RATE = 0.1
"""For inputs that are standardised, as the survey has them."""
MOST_EPOCHS = 20
MUCH = 3.0
"""The factor by which a plan's steps must differ from these to be mentioned."""
MORE = 1.5
"""The same for more steps, where classes are known to differ much."""


@dataclass(frozen=True)
class Sizes:
    """The sizes that the survey found, and classes where owners agreed."""

    rows: int
    """n_k of the median device, at least 1."""
    devices: int
    """The number of devices."""
    weights: int
    """p of the network."""
    mix: Mix | None = None
    """How far classes differ between devices; None: no owner allows to tell."""

    @classmethod
    def of(cls, rows: Collection[int], weights: int, mix: Mix | None = None) -> "Sizes":
        """From the n_k of the devices, at least one.

        Raises:
            ValueError: there is none.
        """
        if not rows:
            raise ValueError("no device has told how many rows it has")
        return cls(max(1, median_low(rows)), len(rows), weights, mix)

    @property
    def skewed(self) -> bool | None:
        """Whether classes differ much between devices; None: that is not known."""
        return None if self.mix is None or self.mix.skew is None else self.mix.is_skewed


@dataclass(frozen=True)
class Proposal:
    """A plan, and its reasons."""

    sizes: Sizes
    plan: Plan

    def against(self, configured: Plan) -> str:
        """A comparison with the configured plan, in one line."""
        rows, own, theirs = self.sizes.rows, self.plan, configured
        steps, theirs_steps = own.steps(rows), theirs.steps(rows)
        found = (
            f"the median of {self.sizes.devices} devices holds {rows:,} rows: with [plan] epochs = "
            f"{theirs.epochs} and batch_size = {theirs.batch_size} it takes {theirs_steps:,} steps between "
            "two means"
        )
        skewed, mix = self.sizes.skewed, self.sizes.mix
        if mix is not None and skewed is not None:
            much = "much" if skewed else "little"
            found += f"; classes differ {much} between devices ({mix.skew:.0%} of the median one's rows)"
        if theirs_steps > (MORE if skewed else MUCH) * steps:
            why = "so many lead each its own way" if skewed else "that is many"
            if skewed is None:
                why = "if classes differ between devices, so many lead each its own way"
        elif MUCH * theirs_steps < steps:
            why = "so few use up rounds"
        else:
            suited = "these" if skewed is not None else "most"
            return f"{found}, which suits {suited} data{self._next(theirs)} (docs/plans.md)"
        return (
            f"{found}; {why}. Proposed: epochs = {own.epochs}, batch_size = {own.batch_size}, "
            f"learning_rate = {own.learning_rate:g}, which takes {steps:,}{self._next(own)} (docs/plans.md)"
        )

    def _next(self, plan: Plan) -> str:
        """The advice where classes differ much, if there is any."""
        if not self.sizes.skewed or plan.epochs == 1:
            return ""
        return "; where the held-out loss rises or stands, epochs = 1 and more rounds"


def propose(sizes: Sizes) -> Proposal:
    """A plan to begin with.

    >>> [propose(Sizes(rows, 20, 5_000)).plan.epochs for rows in (20, 75, 300, 10_000)]
    [12, 5, 1, 1]
    """
    an_epoch = Plan(epochs=1, batch_size=BATCH).steps(sizes.rows)
    steps = STEPS_ALIKE if sizes.skewed is False else STEPS
    epochs = min(MOST_EPOCHS, max(1, round(steps / an_epoch)))
    return Proposal(sizes, Plan(epochs=epochs, batch_size=BATCH, learning_rate=RATE))
