"""Networks on NumPy whose weights are one flat vector."""

from fedge.nn.initialize import first_weights, initialize
from fedge.nn.network import Evaluation, Network
from fedge.nn.spec import Dense, NetworkSpec, ReLU, Rescale, Sigmoid, Standardize, Tanh

__all__ = [
    "Dense",
    "Evaluation",
    "Network",
    "NetworkSpec",
    "ReLU",
    "Rescale",
    "Sigmoid",
    "Standardize",
    "Tanh",
    "first_weights",
    "initialize",
]
