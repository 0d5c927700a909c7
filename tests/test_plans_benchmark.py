"""The benchmark of plans deals as it says, and draws what it has measured."""

from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.plans import split
from benchmarks.plans_curves import drawn


@pytest.mark.parametrize(("alpha", "least", "most"), [(0.1, 0.55, 1.0), (1.0, 0.2, 0.5), (None, 0.1, 0.25)])
def test_the_smaller_alpha_the_fewer_classes_a_device_has(
    alpha: float | None, least: float, most: float
) -> None:
    """The share of a device's most frequent class; of ten classes dealt at random it is .1 and some noise."""
    y = np.repeat(np.arange(10), 150)
    hands = split(y, 20, alpha, np.random.default_rng(3))
    assert [len(hand) for hand in hands] == [75] * 20
    assert len(np.unique(np.concatenate(hands))) == 1_500, "each row lies on one device"
    share = np.mean([np.bincount(y[hand]).max() / len(hand) for hand in hands])
    assert least < share < most


def test_the_curves_are_a_drawing_with_a_line_a_plan() -> None:
    plans = {f"E = {e}, lr = {rate}": {"curve": [0.1, 0.9]} for e in (1, 5) for rate in (0.1, 0.3)}
    text = drawn({"settings": {"α = 0.1": {"plans": plans}, "IID": {"plans": plans}}})
    lines = ElementTree.fromstring(text).findall(".//{http://www.w3.org/2000/svg}polyline")
    assert [line.get("points") for line in lines] == ["0.0,220.0 300.0,44.0"] * 4
