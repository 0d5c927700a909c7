"""IFCA: several shared models, of which each device trains and uses the one that fits its data.

Ghosh, Chung, Yin, Ramchandran 2020, "An Efficient Framework for Clustered Federated Learning", NeurIPS,
https://arxiv.org/abs/2006.04088, Algorithm 1, with model averaging: the server announces k models; device i
takes the model of the cluster

    j_i = argmin_j F_i(θ_j),

trains it, and sends the result with j_i. The server averages the updates of each cluster by themselves; a
cluster without updates keeps its model.

F_i is the mean loss on the device's choose part, on which it never trains. Of equal losses the lowest number
counts; a loss that is not finite never does. A device chooses anew in each round, so it has no state that
the choice depends on.

The first k models are drawn from different seeds. Equal ones would never part: every device would take the
first. As in the paper (section 6), the result depends on the first models, and a cluster may stay empty.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from pydantic import Field

from fedge.algorithms.protocols import Adapted, Array, Personal, Start, State, Vectors, cluster_names
from fedge.algorithms.registry import Entry, Need, Options
from fedge.algorithms.trainer import Job

MOST = 9
"""The most clusters: the weights and the further vectors of one message."""


class ClustersOptions(Options):
    """The number of clusters."""

    models: int = Field(default=2, ge=2, le=MOST)
    """k, the number of shared models; a device receives them all in each round."""


class Clusters(Personal):
    """IFCA: a device uses the announced model of the cluster that it chose; the state is this choice."""

    announced: ClassVar[bool] = False

    def __init__(self, options: ClustersOptions) -> None:
        self._models = options.models

    @property
    def models(self) -> int:
        """k."""
        return self._models

    def start(self, received: Vectors, state: State, loss: Callable[[Array], float]) -> Start:
        """The model with the least loss.

        Raises:
            ValueError: the announced model lacks one of the k models, or one of them has another size.
        """
        names = cluster_names(self._models)
        if lacks := ", ".join(name for name in names if name not in received):
            raise ValueError(f"clusters of {self._models} models: the announced model lacks {lacks}")
        models = [received[name] for name in names]
        if any(model.shape != models[0].shape for model in models):
            raise ValueError(f"clusters: the announced models are of shapes {[m.shape for m in models]}")
        losses = [each if math.isfinite(each := loss(model)) else math.inf for model in models]
        best = losses.index(min(losses))
        return Start(models[best], best)

    def adapt(self, job: Job, start: Start, trained: Array | None, cancelled: Callable[[], bool]) -> Adapted:
        """The announced model of the cluster; training changes it only by way of the server."""
        return Adapted(start.weights, {"cluster": np.array(start.cluster, np.int64)})


ENTRY = Entry(
    "personal",
    "clusters",
    Clusters,
    ClustersOptions,
    needs=(
        Need("local", ("sgd", "prox"), why="a device may train another model in the next round"),
        Need("server", ("average",), why="each cluster is averaged by itself"),
    ),
)
