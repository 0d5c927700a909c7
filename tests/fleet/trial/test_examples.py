"""The examples in the docstrings are right."""

import doctest
from types import ModuleType

import pytest

from fleet.cli import data_options
from fleet.demo import figure, learning, look
from fleet.trial import columns, device_ids, proposal, skew


@pytest.mark.parametrize(
    ("module", "examples"),
    [
        (columns, 1),
        (data_options, 1),
        (figure, 1),
        (learning, 1),
        (look, 1),
        (device_ids, 1),
        (proposal, 1),
        (skew, 1),
    ],
)
def test_examples(module: ModuleType, examples: int) -> None:
    assert doctest.testmod(module) == (0, examples)
