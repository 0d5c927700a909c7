"""The examples in the docstrings are right."""

import doctest
from types import ModuleType

import pytest

from fleet import figure, learning
from fleet.trial import files, proposal, run, skew


@pytest.mark.parametrize(
    ("module", "examples"), [(figure, 1), (learning, 1), (files, 2), (proposal, 1), (run, 1), (skew, 1)]
)
def test_examples(module: ModuleType, examples: int) -> None:
    assert doctest.testmod(module) == (0, examples)
