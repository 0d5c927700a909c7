"""No personal model: each device uses the shared model as it is."""

from fedge.algorithms.protocols import Personal
from fedge.algorithms.registry import Entry


class NoPersonal(Personal):
    """The device shares all of the model, and keeps nothing of its own."""


ENTRY = Entry("personal", "none", NoPersonal)
