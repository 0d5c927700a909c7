"""`check_trainer`: the laws of `fedge.algorithms.trainer.Trainer`."""

from collections.abc import Callable

from fedge.algorithms.plan import Plan
from fedge.algorithms.trainer import Trainer
from fedge.testing.jobs import CLASSIFIER, PLAN, REGRESSION, Example, check_divergence, check_training


def check_trainer(make: Callable[[], Trainer], *, plan: Plan = PLAN, seed: int = 0) -> None:
    """Check a trainer against its protocol, on a small classifier and a small regression.

    The laws are those of `fedge.testing.check_local` for what is trained: `result`, `vectors`, `finite`,
    `learns`, `losses`, `arguments`, `seeded`, `hidden`, `asks` and `cancelled`.

    Args:
        make: makes the trainer, as the class itself does.
        plan: epochs, batch size and learning rate of the rounds.
        seed: of the samples.

    Raises:
        BrokenLaw: it breaks one; the text says which and how.
    """
    for where, network in (("a classifier", CLASSIFIER), ("a regression", REGRESSION)):
        example = Example(network, plan, seed=seed)
        check_training(lambda: make().work, example, (), where)
        check_divergence(lambda: make().work, example, where)
