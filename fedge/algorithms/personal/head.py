"""FedPer: the last layers of the network stay on the device, and only the layers before them are shared.

Arivazhagan, Aggarwal, Singh, Choudhary 2019, "Federated Learning with Personalization Layers",
https://arxiv.org/abs/1912.00818, section 3 and Algorithm 1. The network is divided into base layers W_B and
personalization layers W_P of each device. A device begins a round with the announced base layers and with its
own W_P, trains both, and sends the base layers alone.

The personalization layers of the announced model never change: they keep the first weights of the generation,
with which each device begins. The personal model is what the device's training of the round ended with; when
the last model is measured, it is the announced base layers with the device's own W_P.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.protocols import WEIGHTS, Adapted, Personal, Start, State, Vectors
from fedge.algorithms.registry import Entry, Need, Options
from fedge.algorithms.trainer import Job
from fedge.nn.spec import NetworkSpec

PLAIN = Need(
    "local",
    ("sgd", "prox"),
    why="the other local algorithms send or keep vectors that belong to the whole model",
)


class HeadOptions(Options):
    """Which layers stay on the device."""

    layers: int = Field(default=1, ge=1, le=1_000)
    """How many of the last layers that have parameters stay."""
    names: str = Field(default="", max_length=200)
    """Or their numbers, with commas, as exported files name their parameters: `"1"` is the layer of
    `1.weight`. With names, `layers` does not count."""


class Head(Personal):
    """Keeps the last layers on the device. State: the `places` of their weights, and the `values`."""

    announced: ClassVar[bool] = False

    def __init__(self, options: HeadOptions) -> None:
        self._layers, self._names = options.layers, options.names

    def shared(self, network: NetworkSpec) -> NDArray[np.bool_]:
        """The weights of the layers that do not stay."""
        placed = [each for each in network.placed if each.parameters]
        known = [each.prefix.removesuffix(".") for each in placed]
        kept = known[-self._layers :]
        if self._names:
            kept = [name.strip() for name in self._names.split(",")]
            if unknown := sorted(set(kept) - set(known)):
                raise ValueError(
                    f"[personal] names: the network has no layer {', '.join(unknown)}; its layers with "
                    f"parameters are {', '.join(known)}"
                )
        mask = np.ones(network.schema.size, dtype=np.bool_)
        for name, each in zip(known, placed, strict=True):
            if name in kept:
                mask[each.place] = False
        if not mask.any():
            key = "names" if self._names else "layers"
            raise ValueError(
                f"[personal] {key}: all {len(known)} layers with parameters would stay on the devices, and "
                "nothing would be learnt together; keep fewer, or add a layer under [model] layers"
            )
        return mask

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """No weights of its own yet: the device begins with the announced ones."""
        return {"places": np.zeros(0, np.int64), "values": np.zeros(0, np.float32)}

    def start(self, received: Vectors, state: State, loss: Callable[[NDArray[Any]], float]) -> Start:
        """The announced layers, with the device's own last ones."""
        weights = np.array(received[WEIGHTS])
        weights[state["places"]] = state["values"]
        return Start(weights)

    def adapt(
        self, job: Job, start: Start, trained: NDArray[Any] | None, cancelled: Callable[[], bool]
    ) -> Adapted:
        """Keep the trained last layers."""
        if trained is None:
            return Adapted(start.weights, job.state)
        places = np.flatnonzero(~self.shared(job.network.spec))
        return Adapted(trained, {"places": places, "values": trained[places]})


ENTRY = Entry("personal", "head", Head, HeadOptions, (PLAIN,))
