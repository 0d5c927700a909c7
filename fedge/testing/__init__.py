"""Checks of the laws that each part of an algorithm keeps: one line in a contributor's test each."""

from fedge.testing.codec import check_codec
from fedge.testing.laws import BrokenLaw
from fedge.testing.layer import check_layer
from fedge.testing.local import check_local
from fedge.testing.personal import check_personal
from fedge.testing.rule import check_rule
from fedge.testing.server import check_server
from fedge.testing.trainer import check_trainer

__all__ = [
    "BrokenLaw",
    "check_codec",
    "check_layer",
    "check_local",
    "check_personal",
    "check_rule",
    "check_server",
    "check_trainer",
]
