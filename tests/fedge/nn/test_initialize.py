"""Moments of the first weights; with N draws a standard deviation is known to a share of about 1/√(2N)."""

from math import sqrt
from typing import Any

import numpy as np
import pytest

from fedge.nn import NetworkSpec, initialize


def spec(*layers: dict[str, Any], inputs: int = 300) -> NetworkSpec:
    return NetworkSpec.model_validate({"inputs": inputs, "layers": layers, "loss": "cross-entropy"})


RELU = spec({"type": "dense", "units": 200}, {"type": "relu"}, {"type": "dense", "units": 100})


def test_before_relu_weights_are_normal_with_variance_two_by_fan_in() -> None:
    weight = RELU.schema.views(initialize(RELU, np.random.default_rng(0), np.float64))["0.weight"].ravel()
    sigma = sqrt(2 / 300)
    assert weight.mean() == pytest.approx(0, abs=5 * sigma / sqrt(len(weight)))
    assert weight.std() == pytest.approx(sigma, rel=5 / sqrt(2 * len(weight)))
    # 4.55 % of a normal lies outside two standard deviations, none of a uniform.
    assert np.mean(np.abs(weight) > 2 * sigma) == pytest.approx(0.0455, abs=0.005)


@pytest.mark.parametrize(
    ("network", "name", "fans"),
    [
        (RELU, "1.weight", 200 + 100),
        (
            spec({"type": "dense", "units": 200}, {"type": "tanh"}, {"type": "dense", "units": 9}),
            "0.weight",
            500,
        ),
        (spec({"type": "dense", "units": 100}), "0.weight", 300 + 100),
    ],
    ids=["last layer", "before tanh", "only layer"],
)
def test_elsewhere_weights_are_uniform_in_glorots_limits(network: NetworkSpec, name: str, fans: int) -> None:
    weight = network.schema.views(initialize(network, np.random.default_rng(0), np.float64))[name].ravel()
    limit = sqrt(6 / fans)
    assert np.abs(weight).max() <= limit
    assert np.abs(weight).max() > 0.99 * limit
    assert weight.std() == pytest.approx(limit / sqrt(3), rel=5 / sqrt(2 * len(weight)))


def test_biases_are_zero() -> None:
    views = RELU.schema.views(initialize(RELU, np.random.default_rng(0)))
    assert not views["0.bias"].any()
    assert not views["1.bias"].any()


def test_the_generator_alone_decides() -> None:
    first, again = (initialize(RELU, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    wide = initialize(RELU, np.random.default_rng(3), np.float64)
    np.testing.assert_array_equal(first, wide.astype(np.float32))
    assert (initialize(RELU, np.random.default_rng(4)) != first).any()
