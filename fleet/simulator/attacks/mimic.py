"""Mimic: all attackers send the update of one honest device, so that it counts too much.

Karimireddy, He, Jaggi 2022, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", ICLR,
https://arxiv.org/abs/2006.09365, section 3.2 and appendix B. The device is that which stands out most along
the direction z of the largest variance among the honest updates x_i. In the first rounds z is estimated by
Oja's rule: with the running mean μ of the updates, in round t = 0, 1, …

    z ← t/(1 + t) z + 1/(1 + t) · v/‖v‖,   v = Σ_i (x_i - μ) ⟨x_i - μ, z⟩,

and it is the device with the largest |Σ_t ⟨z, x_i⟩|. After these rounds it stays the same one. No update that
is sent is unusual, so no rule can tell it from an honest one; but where devices have unlike data, the fleet
learns those of this device too well.
"""

import numpy as np
from pydantic import Field

from fedge.algorithms.registry import Entry, Options
from fleet.simulator.attacks.attack import Attack, Knowledge, Sent, State


class MimicOptions(Options):
    """Options of mimic."""

    device: int | None = Field(default=None, ge=0)
    """The number of the honest device, in their order; None: as the paper chooses it."""
    warmup: int = Field(default=100, ge=1)
    """The number of first rounds in which the device is chosen anew."""


class Mimic(Attack):
    """Every attacker sends the change of one honest device."""

    omniscient = True

    def __init__(self, options: MimicOptions) -> None:
        self._device, self._warmup = options.device, options.warmup

    def changes(self, known: Knowledge, state: State) -> Sent:
        """As the class says.

        Raises:
            ValueError: there is no device of the number that the options name.
        """
        seen = known.seen
        if self._device is not None:
            if self._device >= len(seen):
                raise ValueError(f"mimic: device is {self._device}, and there are {len(seen)} honest ones")
            return Sent(np.tile(seen[self._device], (len(known.own), 1)))
        after = state
        if not state or len(state["along"]) != len(seen) or int(state["round"]) < self._warmup:
            after = self._observed(known, state)
        chosen = int(np.abs(after["along"]).argmax())
        return Sent(np.tile(seen[chosen], (len(known.own), 1)), after)

    def _observed(self, known: Knowledge, state: State) -> State:
        """The state after one more round of estimating z."""
        seen, size = known.seen, known.seen.shape[1]
        fits = bool(state) and len(state["along"]) == len(seen)
        before = int(state["round"]) if fits else 0
        z = state["z"] if fits else np.random.default_rng(known.seed).normal(size=size)
        mean = state["mean"] if fits else np.zeros(size)
        mean = (before * mean + seen.mean(axis=0)) / (before + 1)
        off = seen - mean
        v = (off @ z) @ off
        length = float(np.linalg.norm(v))
        z = (before * z + (v / length if length else 0.0)) / (before + 1)
        along = (state["along"] if fits else np.zeros(len(seen))) + seen @ z
        return {"z": z, "mean": mean, "along": along, "round": np.array(before + 1)}


ENTRY = Entry("attack", "mimic", Mimic, MimicOptions)
