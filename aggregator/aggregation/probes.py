"""Whether a new model computes finite outputs, and can be trained from; asked at closing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.nn import Network
from fedge.nn.probes import Samples, probes
from fedge.nn.spec import NetworkSpec

Weights = NDArray[np.float32]


class Trial:
    """Decides whether a model of this network is usable, both to predict and to train from.

    A model is usable if its weights are finite in float32, its outputs are finite on each probe, and loss and
    gradient over all probes are finite. Their targets are those that the model finds least likely; for a
    regression, the mean.

    Probes on which the base itself is not finite do not count, and neither do loss and gradient if those of
    the base are not finite: no update of this round is the cause, and the round must be able to close.

    Args:
        spec: the network.
        base: the weights of shape (p,) that the round began from.
        samples: raw samples (n, d) to try it on as well.
    """

    def __init__(self, spec: NetworkSpec, base: Weights, samples: Samples | None = None) -> None:
        self._network = Network(spec)
        X = probes(spec, samples)
        self._X = X[np.isfinite(self._outputs(base, X)).all(axis=1)]
        self.base_is_usable = len(self._X) > 0
        self._can_be_trained = self.base_is_usable and self._trains(base)

    def passes(self, vector: NDArray[np.floating[Any]]) -> bool:
        """Whether weights (p,) are usable, rounded to float32."""
        with np.errstate(over="ignore"):
            weights = vector.astype(np.float32, copy=False)
        if not np.isfinite(weights).all() or not np.isfinite(self._outputs(weights, self._X)).all():
            return False
        return not self._can_be_trained or self._trains(weights)

    def _outputs(self, weights: Weights, X: Samples) -> NDArray[np.floating[Any]]:
        with np.errstate(all="ignore"):  # what overflows shows in the outputs
            return self._network.predict(weights, X)

    def _trains(self, weights: Weights) -> bool:
        outputs = self._outputs(weights, self._X)
        classifies = self._network.spec.loss == "cross-entropy"
        targets = np.argmin(outputs, axis=1) if classifies else np.zeros_like(outputs)
        gradient = np.empty_like(weights)
        with np.errstate(all="ignore"):
            loss = self._network.loss_and_grad(weights, self._network.prepare(self._X), targets, gradient)
        return bool(np.isfinite(loss) and np.isfinite(gradient).all())
