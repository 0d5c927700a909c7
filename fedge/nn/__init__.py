"""Networks on NumPy whose weights are one flat vector."""

from fedge.nn.initialize import first_weights, initialize
from fedge.nn.network import Evaluation, Network
from fedge.nn.spec import NetworkSpec

__all__ = ["Evaluation", "Network", "NetworkSpec", "first_weights", "initialize"]
