"""The examples in the docstrings are right."""

import doctest
from types import ModuleType

import pytest

from fleet import data_options, figure, learning
from fleet.trial import columns, files, proposal, skew


@pytest.mark.parametrize(
    ("module", "examples"),
    [(data_options, 1), (figure, 1), (learning, 1), (files, 2), (proposal, 1), (columns, 1), (skew, 1)],
)
def test_examples(module: ModuleType, examples: int) -> None:
    assert doctest.testmod(module) == (0, examples)
