"""The bound on standardized inputs is part of the network."""

import numpy as np
import pytest
from pydantic import ValidationError

from fedge.nn import Network, NetworkSpec
from fedge.nn.spec import Dense, Standardize, clip_of, names_of
from fedge.wire.capabilities import BASE, can, lacking, required


def network_with(clip: float | None) -> NetworkSpec:
    mean, scale = np.float32([10, -5]).tobytes(), np.float32([2, 0.5]).tobytes()
    layers = (Standardize(mean=mean, scale=scale, clip=clip), Dense(units=3))
    return NetworkSpec(inputs=2, layers=layers, loss="cross-entropy")


X = np.array([[-9999, -5], [10, 4e9], [np.inf, -np.inf], [50.5, -5.5], [np.nan, -5], [12, -4]], np.float32)
CLIPPED = np.float32([[-20, 0], [0, 20], [20, -20], [20, -1], [np.nan, 0], [1, 2]])


def test_what_is_beyond_the_bound_counts_as_the_bound_for_training_and_for_predicting() -> None:
    network = Network(network_with(20.0))
    np.testing.assert_array_equal(network.prepare(X), CLIPPED)
    w = np.random.default_rng(0).standard_normal(network.schema.size).astype(np.float32)
    at_the_bound = CLIPPED[:4] * [2, 0.5] + [10, -5]
    np.testing.assert_allclose(network.predict(w, X[:4]), network.predict(w, at_the_bound), atol=1e-6)
    assert np.isnan(network.predict(w, X[4:5])).all(), "a missing value is not far away"


def test_within_the_bound_nothing_changes_by_a_bit() -> None:
    ordinary = np.random.default_rng(3).normal([10, -5], [2, 0.5], (500, 2)).astype(np.float32)
    clipped, plain = (Network(network_with(clip)).prepare(ordinary) for clip in (20.0, None))
    assert clipped.tobytes() == plain.tobytes()


def test_a_device_must_know_it_by_its_name() -> None:
    clipped, plain = network_with(20.0), network_with(None)
    assert (clip_of(clipped), clip_of(plain)) == (20.0, None)
    assert names_of(clipped.layers[0]) == ("standardize", "standardize.clip")
    assert names_of(plain.layers[0]) == ("standardize",)
    needed = required("train", None, clipped)
    assert lacking(needed, can()) == ()
    assert lacking(needed, BASE) == ("layer:standardize.clip",)
    assert lacking(required("train", None, plain), BASE) == ()


@pytest.mark.parametrize("clip", [0.0, 0.99, -20.0, 1e7, float("inf"), float("nan"), "20"])
def test_a_bound_that_cannot_be_meant_is_refused(clip: object) -> None:
    with pytest.raises(ValidationError, match="clip"):
        network_with(clip)  # type: ignore[arg-type]
