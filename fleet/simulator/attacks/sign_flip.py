"""Sign flip: each attacker sends the opposite of its honest change.

Li, Xu, Chen, Giannakis, Ling 2019, "RSA: Byzantine-Robust Stochastic Aggregation Methods for Distributed
Learning from Heterogeneous Datasets", AAAI, https://arxiv.org/abs/1811.03761, section 5: the true value,
multiplied by a negative constant (-4 there). Karimireddy, He, Jaggi 2022, "Byzantine-Robust Learning on
Heterogeneous Datasets via Bucketing", ICLR, https://arxiv.org/abs/2006.09365, section 6 ("bit flipping"): -1.
"""

from pydantic import Field

from fedge.algorithms.registry import Entry, Options
from fleet.simulator.attacks.attack import Attack, Knowledge, Sent, State


class SignFlipOptions(Options):
    """Options of the sign flip."""

    strength: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """The change is multiplied by the opposite of this number."""


class SignFlip(Attack):
    """- strength · own change."""

    def __init__(self, options: SignFlipOptions) -> None:
        self.strength = options.strength

    def changes(self, known: Knowledge, state: State) -> Sent:
        """As the class says."""
        return Sent(-self.strength * known.own)


ENTRY = Entry("attack", "sign-flip", SignFlip, SignFlipOptions)
