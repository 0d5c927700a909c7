"""The sum of the devices' clipped changes after one local step each: Σ x_k of `fedge.privacy.mechanism`.

Each device goes one step along the gradient of all of its rows, w_k = w - η ∇L_k(w), as with one epoch and a
batch that holds all of them.

`OneByOne` makes each device's vector and takes it through the mechanism, for any network. `AtOnce` does the
same for networks without hidden layers, some hundred times as fast, because it makes no vector of a device.
With A_k = [X_k 1] (n, d + 1) and R_k = (softmax(A_k w) - Y_k) / n_k (n, c), the gradient is A_kᵀ R_k, and

    ‖A_kᵀ R_k‖² = ⟨A_k A_kᵀ, R_k R_kᵀ⟩,        Σ_k f_k A_kᵀ R_k = Aᵀ [f_k R_k],

so lengths need inner products of a device's own rows, which never change, and the sum is one product
(Goodfellow 2015, "Efficient Per-Example Gradient Computations", arXiv:1510.01799).

**How far they differ.** `AtOnce` rounds the sum to the grid once, and `OneByOne` each device's change, by at
most half a step; it also makes each w_k in float32, with an error of 2⁻²⁴ |w_k| or less. So in a weight of
the mean the two differ by at most S / 2^21 + 2⁻²³ max |w|, and by the rounding errors of the products. With
z ≥ 1 and m devices the noise is S z / m: with m = 10,000, 200 times the first of these, in a single weight.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedge.nn.losses import softmax
from fedge.nn.network import Network
from fedge.nn.spec import Dense
from fedge.privacy.mechanism import Grid, Whole
from fleet.privacy.population import Population

Vector = NDArray[np.float32]


class Changes(Protocol):
    """The sum of all devices' clipped changes."""

    devices: int
    """k, how many there are."""

    def total(self, base: Vector, grid: Grid, rate: float) -> Whole:
        """Σ x_k of shape (p,), in steps of the grid.

        Args:
            base: the model, of shape (p,).
            grid: with the clip.
            rate: η, the learning rate.
        """


def changes_of(population: Population) -> Changes:
    """The faster of the two that can do it."""
    simple = len(population.network.core) == 1 and isinstance(population.network.core[0], Dense)
    return AtOnce(population) if simple else OneByOne(population)


class OneByOne:
    """A device after the other, through the mechanism itself."""

    def __init__(self, population: Population) -> None:
        self.devices = len(population)
        self._network = Network(population.network)
        self._rows = [
            (
                self._network.prepare(population.X[number, :rows]),
                self._network.prepare_targets(population.y[number, :rows]),
            )
            for number, rows in enumerate(population.rows)
        ]

    def total(self, base: Vector, grid: Grid, rate: float) -> Whole:
        """As `Changes.total`."""
        found = np.zeros(grid.size, np.int64)
        for number in range(len(self._rows)):
            found += grid.rounded(base, self.vector(number, base, rate))
        return found

    def vector(self, number: int, base: Vector, rate: float) -> Vector:
        """The weights of one device after its step, of shape (p,)."""
        grad = np.empty_like(base)
        self._network.loss_and_grad(base, *self._rows[number], grad)
        grad *= np.float32(rate)
        return base - grad


class AtOnce:
    """All devices with the same products of matrices; for a single dense layer."""

    def __init__(self, population: Population) -> None:
        devices, most, inputs = population.X.shape
        self.devices = devices
        self._inputs, self._outputs = inputs, population.network.outputs
        self._flat = population.X.reshape(devices * most, inputs)
        self._inner = np.einsum("kid,kjd->kij", population.X, population.X, optimize=True) + 1.0
        counts = population.counts
        self._weights = (counts / population.rows[:, None]).astype(np.float32)
        self._places = np.arange(devices * most), population.y.reshape(-1)

    def total(self, base: Vector, grid: Grid, rate: float) -> Whole:
        """As `Changes.total`."""
        split = self._inputs * self._outputs
        outputs = self._flat @ base[:split].reshape(self._inputs, self._outputs) + base[split:]
        apart = softmax(outputs)
        apart[self._places] -= 1
        devices, most = self._weights.shape
        residuals = apart.reshape(devices, most, self._outputs) * self._weights[:, :, None]
        products = residuals @ residuals.transpose(0, 2, 1)
        lengths = rate * np.sqrt(np.maximum(0, np.einsum("kij,kij->k", self._inner, products)))
        factors = np.minimum(1, grid.clip / np.maximum(lengths, 1e-300)).astype(np.float32)
        residuals *= factors[:, None, None]
        flat = residuals.reshape(devices * most, self._outputs)
        change = np.concatenate([(self._flat.T @ flat).reshape(-1), flat.sum(0, dtype=np.float64)])
        found: Whole = np.rint(change * (-rate / grid.step)).astype(np.int64)
        return found
