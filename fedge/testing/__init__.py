"""Checks of the laws that each part of an algorithm keeps: one line in a contributor's test each."""

from fedge.testing.laws import BrokenLaw
from fedge.testing.layer import check_layer

__all__ = ["BrokenLaw", "check_layer"]
