"""`check_layer` passes what is right, and names the law that each broken sample breaks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from examples.extend import conv1d
from fedge.algorithms.registry import LAYERS, Entry
from fedge.nn.layer import entry
from fedge.nn.layers.standardize import Standardize
from fedge.testing import BrokenLaw, check_layer, operators
from tests.fedge.testing import broken_computations, broken_layers
from tests.fedge.testing.scale_layer import Scale

MEAN_AND_SCALE = dict(Standardize.example)
REST = {"rest": np.array([1e-7, 0, 1e-5], "<f4").tobytes()}
BROKEN = [*broken_layers.BROKEN, *broken_computations.BROKEN]


@pytest.mark.parametrize("name", LAYERS.names())
def test_the_built_in_ones_keep_the_laws(name: str) -> None:
    check_layer(LAYERS.entries()[name])


@pytest.mark.parametrize("more", [{"clip": 1.0}, REST, {"clip": 1.0, **REST}], ids=["clip", "rest", "both"])
def test_the_frozen_first_one_keeps_them_in_each_of_its_forms(more: dict[str, Any]) -> None:
    check_layer(LAYERS.entries()["standardize"], MEAN_AND_SCALE | more)


@pytest.mark.parametrize("options", [None, {"filters": 1, "width": 1}, {"filters": 3, "width": 2}])
def test_one_from_outside_keeps_them(options: dict[str, Any] | None) -> None:
    check_layer(conv1d.ENTRY, options)


def test_the_sample_itself_keeps_the_laws() -> None:
    check_layer(entry(Scale))


@pytest.mark.parametrize(
    ("law", "make"), BROKEN, ids=[f"{number}-{law}" for number, (law, _) in enumerate(BROKEN)]
)
def test_a_broken_one_is_told_by_the_law_that_it_breaks(law: str, make: Callable[[], Entry[Any]]) -> None:
    with pytest.raises(BrokenLaw) as caught:
        check_layer(make())
    assert caught.value.law == law, caught.value


def test_who_takes_no_shape_must_be_told_one() -> None:
    with pytest.raises(ValueError, match="shapes="):
        check_layer(conv1d.ENTRY, {"width": 100})
    check_layer(conv1d.ENTRY, {"width": 100}, shapes=[(101,)])


def test_without_onnx_it_says_what_was_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="onnx"):
        check_layer(entry(broken_layers.AddsInTheFile))
