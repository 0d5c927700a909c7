"""`check_trainer`: the laws of `fedge.algorithms.trainer.Trainer`."""

from collections.abc import Callable
from dataclasses import replace

from fedge.algorithms.plan import Plan
from fedge.algorithms.trainer import Trainer
from fedge.testing.jobs import CLASSIFIER, PLAN, REGRESSION, Example, check_divergence, check_training
from fedge.testing.laws import copied, require_state


def check_trainer(make: Callable[[], Trainer], *, plan: Plan = PLAN, seed: int = 0) -> None:
    """Check a trainer against its protocol, on a small classifier and a small regression.

    The laws are those of `fedge.testing.check_local` for what is trained: `result`, `vectors`, `finite`,
    `learns`, `losses`, `arguments`, `seeded`, `hidden`, `asks` and `cancelled`; and

    * `state`: what it remembers is finite named arrays, {} at first, and of the same names, shapes and types
      after each round.

    Args:
        make: makes the trainer, as the class itself does.
        plan: epochs, batch size and learning rate of the rounds.
        seed: of the samples.

    Raises:
        BrokenLaw: it breaks one; the text says which and how.
    """
    for where, network in (("a classifier", CLASSIFIER), ("a regression", REGRESSION)):
        begin = Example(network, plan, seed=seed)
        example, before = begin, None
        for number in (1, 2):
            here = f"{where}, round {number}"
            trained = check_training(lambda: make().work, example, (), here)
            require_state(trained.state, before, f"{here}: the state after it")
            before = copied(trained.state)
            example = replace(example, state=before)
        check_divergence(lambda: make().work, begin, where)
