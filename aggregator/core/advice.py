"""A plan to begin with, from the row counts of a survey, and its classes if devices tell them. Pure.

The models of devices that train for many steps between two means drift apart. The more their rows differ, the
worse is the mean of such models, compared with fewer steps and more rounds (client drift: Karimireddy et al.
2020, "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", ICML, section 3; Li et al. 2020, "On
the Convergence of FedAvg on Non-IID Data", ICLR, theorem 1). Few steps waste rounds (McMahan et al. 2017,
AISTATS, figure 2). What counts for both is the number of steps between two means, K = E · ceil(n_k / B), and
not that of epochs. So the proposed epochs make K about `STEPS`: many if devices hold few rows, one if they
hold many. Sizes do not show how far devices differ. `STEPS` does well for devices that differ much, and loses
little for others. `python -m benchmarks.plans` measures both; docs/evidence/plans.md shows the curves.

If owners let their devices tell how many rows they have of each class, the difference is known
(`aggregator.core.mixes`). If classes differ little, `STEPS_ALIKE` reaches the same accuracy in fewer rounds.
If they differ much, the warning comes at fewer steps above `STEPS`, and one epoch is named to try next.
"""

from collections.abc import Collection
from dataclasses import dataclass
from statistics import median_low

from aggregator.core.mixes import Mix
from fedge.algorithms.plan import Plan

STEPS, STEPS_ALIKE = 25, 50
"""The approximate number of local steps between two means; and if classes are known to differ little."""
BATCH = 16
RATE = 0.1
"""The learning rate, for inputs that the survey standardizes."""
MOST_EPOCHS = 20
MUCH = 3.0
"""A plan whose steps differ from the proposed ones by more than this factor gets a warning."""
MORE = 1.5
"""The same for more steps, if classes are known to differ much."""


@dataclass(frozen=True)
class Sizes:
    """The sizes that the survey found, and classes if devices tell them."""

    rows: int
    """n_k of the median device, at least 1."""
    devices: int
    """The number of devices."""
    weights: int
    """p, the number of the network's weights."""
    mix: Mix | None = None
    """How far classes differ between devices; None: no device tells its classes."""

    @classmethod
    def of(cls, rows: Collection[int], weights: int, mix: Mix | None = None) -> "Sizes":
        """From the n_k of the devices, at least one.

        Raises:
            ValueError: there is none.
        """
        if not rows:
            raise ValueError("no device has told how many rows it holds")
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
            f"{theirs.epochs} and batch_size = {theirs.batch_size} it takes {theirs_steps:,} local steps "
            "in a round"
        )
        skewed, mix = self.sizes.skewed, self.sizes.mix
        if mix is not None and skewed is not None:
            much = "much" if skewed else "little"
            found += f"; classes differ {much} between devices ({mix.skew:.0%} of the median one's rows)"
        if theirs_steps > (MORE if skewed else MUCH) * steps:
            why = "with so many the devices' models drift apart" if skewed else "that is many"
            if skewed is None:
                why = "if classes differ between devices, their models drift apart with so many"
        elif MUCH * theirs_steps < steps:
            why = "with so few it takes many rounds"
        else:
            suited = "these" if skewed is not None else "most"
            return f"{found}, which suits {suited} data{self._next(theirs)} (docs/plans.md)"
        return (
            f"{found}; {why}. Proposed: epochs = {own.epochs}, batch_size = {own.batch_size}, "
            f"learning_rate = {own.learning_rate:g}, which takes {steps:,}{self._next(own)} (docs/plans.md)"
        )

    def _next(self, plan: Plan) -> str:
        """The next plan to try if classes differ much; else nothing."""
        if not self.sizes.skewed or plan.epochs == 1:
            return ""
        return "; if the held-out loss rises or stands still, try epochs = 1 with more rounds"


def propose(sizes: Sizes) -> Proposal:
    """A plan to begin with.

    >>> [propose(Sizes(rows, 20, 5_000)).plan.epochs for rows in (20, 75, 300, 10_000)]
    [12, 5, 1, 1]
    """
    an_epoch = Plan(epochs=1, batch_size=BATCH).steps(sizes.rows)
    steps = STEPS_ALIKE if sizes.skewed is False else STEPS
    epochs = min(MOST_EPOCHS, max(1, round(steps / an_epoch)))
    return Proposal(sizes, Plan(epochs=epochs, batch_size=BATCH, learning_rate=RATE))
