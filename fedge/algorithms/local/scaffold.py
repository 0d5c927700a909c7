"""SCAFFOLD: stochastic gradient descent that corrects each step for how this device differs from the fleet.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh 2020, "SCAFFOLD: Stochastic Controlled Averaging for Federated
Learning", ICML, https://arxiv.org/abs/1910.06378, Algorithm 1 with option II. With the fleet's control
variate c, the device's own c_i, and K steps from the announced model w that end in w_i:

    w_i ← w_i - α (g + λ w_i + c - c_i)             each step (line 10)
    c_i⁺ = c_i - c + (w - w_i) / (K α)               line 12, option II
    Δ = c_i⁺ - c_i = (w - w_i) / (K α) - c           what is sent: the difference, not c_i⁺ (line 13)
    c ← c + |S| / N · mean of Δ over S               line 17, on the server: `handed_on`

All variates begin at zero. S are the devices that count in the round, and N is the number of devices in the
fleet, so a round of few devices moves c little. The means of weights and of Δ give each device the same
weight; so c is the mean of all c_i. That fails with other weights, or with momentum, for which
(w - w_i) / (K α) is no mean of gradients. Weight decay λ is part of the gradient.

These take c away from the mean of all c_i: a device loses its state, `[rounds] clip_norm` shortens a Δ, or an
update is set aside after it was admitted; and so would a codec that rounds Δ, but `topk` sends later what it
left out. The difference stays until the next generation. Until then the model goes to where the fleet's mean
gradient is that difference, and not to where it is 0. A new generation that keeps the model ends this.

The weights are float32, so (w - w_i) / (K α) has an error of about 6e-8 |w| / (α √K) in each entry. Where |w|
is 1 and K is 20, that is 1e-3 with α = 1e-5, and 1e-2 with α = 1e-6: keep α above that, also by
`[plan] rate_floor`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.local.descent import rounded, train_job
from fedge.algorithms.protocols import LocalAlgorithm
from fedge.algorithms.registry import Entry, Need
from fedge.algorithms.trainer import Job, Trained

CONTROL = "control"
"""The name of the vector c, of what a device sends, and of its state c_i."""


class Scaffold(LocalAlgorithm):
    """SCAFFOLD: each step is corrected by control variates of shape (p,); the device's is its state."""

    receives: ClassVar[tuple[str, ...]] = (CONTROL,)
    sends: ClassVar[tuple[str, ...]] = (CONTROL,)
    memory: ClassVar[float] = 2.0

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """The device's control variate: zeros."""
        return {CONTROL: np.zeros(size, np.float32)}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """Take the plan's steps with the correction; send the weights and the variate's difference."""
        fleet, own = job.received[CONTROL], job.state[CONTROL]
        kind = job.network.dtype
        trained = train_job(job, cancelled, offset=np.subtract(fleet, own, dtype=kind))
        start, end, rate = job.weights, trained.vector, job.plan.learning_rate

        def difference(place: slice) -> NDArray[Any]:
            moved = np.subtract(start[place], end[place], dtype=np.float64)
            return moved / (trained.steps * rate) - fleet[place]

        change = rounded(difference, len(end), kind, rate)
        return replace(
            trained,
            vectors={**trained.vectors, CONTROL: change},
            state={CONTROL: np.add(own, change, dtype=kind)},
        )

    def handed_on(
        self, name: str, before: NDArray[np.float32], aggregate: NDArray[np.float32], share: float
    ) -> NDArray[np.float32]:
        """The fleet's next control variate, c + share · aggregate: in float64, rounded once."""
        return (before + share * aggregate.astype(np.float64)).astype(before.dtype)


ENTRY = Entry(
    "local",
    "scaffold",
    Scaffold,
    needs=(
        Need(
            "rule", ("mean",), (("weights", "uniform"),), "the control variate is a plain mean over devices"
        ),
        Need(
            "codec",
            ("float32", "topk"),
            (),
            "what a codec rounds off is missing in the fleet's variate for good",
        ),
        Need("plan", (), (("momentum", 0.0),), "with momentum the steps do not tell the mean gradient"),
    ),
)
