"""Which plan to begin with, from what is known after the survey: how many rows devices hold. Pure.

A device that trains for long between two means goes its own way: the more its rows differ from the others',
the sooner the mean of such models is worse than what a few steps more often would have made (client drift:
Karimireddy et al. 2020, "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", ICML, section
3; Li et al. 2020, "On the Convergence of FedAvg on Non-IID Data", ICLR, theorem 1). One that trains for a
few steps only wastes rounds (McMahan et al. 2017, AISTATS, figure 2). What counts for both is not the
epochs but the steps between two means, K = E · ceil(n_k / B). So the epochs proposed are those that make K
about `STEPS`: many where devices hold few rows, one where they hold many. How far devices differ cannot be
seen from sizes; this number does well for devices that differ much, and loses little for those that do not.
`python -m benchmarks.plans` measures both, and docs/plans.md shows the curves.

What is not in the sizes is not judged: where owners tell class counts, a further field of `Sizes` can hold
how much they differ, and raise the steps for those that do not.
"""

from collections.abc import Collection
from dataclasses import dataclass
from statistics import median_low

from fedge.plan import Plan

STEPS = 25
"""Local steps between two means, about."""
BATCH = 16
RATE = 0.1
"""For inputs that are standardised, as the survey has them."""
MOST_EPOCHS = 20
MUCH = 3.0
"""A plan whose steps are so many times more or fewer than these is told of."""


@dataclass(frozen=True)
class Sizes:
    """What the survey tells without a word about anybody's data."""

    rows: int
    """n_k of the median device, at least 1."""
    devices: int
    """How many took part."""
    weights: int
    """p of the network."""

    @classmethod
    def of(cls, rows: Collection[int], weights: int) -> "Sizes":
        """From the n_k of the devices, at least one.

        Raises:
            ValueError: there is none.
        """
        if not rows:
            raise ValueError("no device has told how many rows it has")
        return cls(max(1, median_low(rows)), len(rows), weights)


@dataclass(frozen=True)
class Proposal:
    """A plan, and why this one."""

    sizes: Sizes
    plan: Plan

    def against(self, configured: Plan) -> str:
        """What to tell of it beside the plan that is configured, in one line."""
        rows, own, theirs = self.sizes.rows, self.plan, configured
        steps, theirs_steps = own.steps(rows), theirs.steps(rows)
        found = (
            f"the median of {self.sizes.devices} devices holds {rows:,} rows: with [plan] epochs = "
            f"{theirs.epochs} and batch_size = {theirs.batch_size} it takes {theirs_steps:,} steps between "
            "two means"
        )
        if theirs_steps > MUCH * steps:
            why = "if classes differ between devices, so many lead each its own way"
        elif MUCH * theirs_steps < steps:
            why = "so few use up rounds"
        else:
            return f"{found}, which suits most data (docs/plans.md)"
        return (
            f"{found}; {why}. Proposed: epochs = {own.epochs}, batch_size = {own.batch_size}, "
            f"learning_rate = {own.learning_rate:g}, which takes {steps:,} (docs/plans.md)"
        )


def propose(sizes: Sizes) -> Proposal:
    """A plan to begin with.

    >>> [propose(Sizes(rows, 20, 5_000)).plan.epochs for rows in (20, 75, 300, 10_000)]
    [12, 5, 1, 1]
    """
    an_epoch = Plan(epochs=1, batch_size=BATCH).steps(sizes.rows)
    epochs = min(MOST_EPOCHS, max(1, round(STEPS / an_epoch)))
    return Proposal(sizes, Plan(epochs=epochs, batch_size=BATCH, learning_rate=RATE))
