"""A first layer with the rest of its means takes inputs in float64; without it all is as it was."""

import numpy as np
import pytest
from pydantic import ValidationError

from fedge.nn import Network, NetworkSpec
from fedge.nn.layers.standardize import BLOCK_ROWS
from fedge.nn.spec import Dense, Standardize, fine_columns, takes_float64
from fedge.wire.capabilities import BASE, can, lacking, required

MEANS = np.array([1.7e9 + 13.25, 20, 101_325, 4e6])
SCALES = np.float32([100, 3, 1, 4e6 * 2.0**-20])
NARROW = MEANS.astype("<f4")


def network_with(rest: bytes | None, clip: float | None = None) -> NetworkSpec:
    first = Standardize(mean=NARROW.tobytes(), scale=SCALES.tobytes(), clip=clip, rest=rest)
    return NetworkSpec(inputs=4, layers=(first, Dense(units=3)), loss="cross-entropy")


REST = (MEANS - NARROW).astype("<f4").tobytes()
X = np.random.default_rng(0).normal(MEANS, SCALES, (2 * BLOCK_ROWS + 5, 4))


def test_inputs_are_subtracted_and_divided_in_float64_and_rounded_once() -> None:
    prepared = Network(network_with(REST)).prepare(X)
    assert prepared.dtype == np.float32
    np.testing.assert_array_equal(prepared, ((X - MEANS) / SCALES.astype(np.float64)).astype(np.float32))
    assert len(np.unique(prepared[:, 0])) > 8_000, "all are different; float32 inputs would be 7"


def test_what_is_missing_stays_and_what_is_far_is_clipped() -> None:
    far = np.array([[np.nan, 1e300, -1e300, 4e6]])
    prepared = Network(network_with(REST, clip=20.0)).prepare(far)
    np.testing.assert_array_equal(prepared, np.float32([[np.nan, 20, -20, 0]]))
    np.testing.assert_array_equal(
        Network(network_with(REST)).prepare(far), np.float32([[np.nan, np.inf, -np.inf, 0]])
    )


def test_predicting_and_evaluating_take_them_as_training_does() -> None:
    network = Network(network_with(REST))
    w = np.random.default_rng(1).standard_normal(network.schema.size).astype(np.float32)
    y = network.predict(w, X).argmax(axis=1)
    assert network.evaluate(w, X, y).accuracy == 1
    assert network.loss(w, network.prepare(X), y) == pytest.approx(network.evaluate(w, X, y).loss)


def test_a_device_must_know_it_by_its_name() -> None:
    exact, plain = network_with(REST), network_with(None)
    assert (takes_float64(exact), takes_float64(plain)) == (True, False)
    needed = required("train", None, exact)
    assert lacking(needed, can()) == ()
    assert lacking(needed, BASE) == ("layer:standardize.rest",)
    assert lacking(required("train", None, plain), BASE) == ()


def test_the_columns_because_of_which_are_named_and_a_constant_one_is_not() -> None:
    """1 and 8 units of float32 are what constant columns are divided by."""
    assert fine_columns(network_with(REST)) == (0,)
    assert fine_columns(network_with(None)) == ()


@pytest.mark.parametrize("rest", [b"", bytes(12), bytes(15), np.float32([0, 0, np.nan, 0]).tobytes()])
def test_a_rest_that_cannot_be_is_refused(rest: bytes) -> None:
    with pytest.raises(ValidationError, match="rest"):
        network_with(rest)
