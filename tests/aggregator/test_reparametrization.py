"""Weights folded into other frozen layers answer as before."""

import numpy as np
import pytest

from aggregator.aggregation.reparametrization import fold
from fedge.nn import Network, initialize
from fedge.nn.spec import Dense, LayerSpec, NetworkSpec, ReLU, Rescale, Standardize, Tanh


def affine(layer: type, mean: list[float], scale: list[float]):  # type: ignore[no-untyped-def]
    return layer(mean=np.array(mean, "<f4").tobytes(), scale=np.array(scale, "<f4").tobytes())


def classifier(mean: list[float], scale: list[float]) -> NetworkSpec:
    layers = (affine(Standardize, mean, scale), Dense(units=7), ReLU(), Dense(units=3))
    return NetworkSpec(inputs=3, layers=layers, loss="cross-entropy")


def regression(mean: list[float], scale: list[float]) -> NetworkSpec:
    layers = (
        affine(Standardize, [0, 0, 0], [1, 1, 1]),
        Dense(units=7),
        ReLU(),
        Dense(units=2),
        affine(Rescale, mean, scale),
    )
    return NetworkSpec(inputs=3, layers=layers, loss="mse")


RAW = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32) * [1, 40, 0.1] + [9.8, 300, 0]
SMALL = RAW.astype(np.float32) / [10, 300, 1]


def answers(spec: NetworkSpec, vector: np.ndarray, X: np.ndarray) -> np.ndarray:
    return Network(spec, np.float64).predict(vector.astype(np.float64), X)


@pytest.mark.parametrize(
    "other",
    [
        ([9.0, 310.0, 0.1], [2.0, 50.0, 0.2]),
        ([9.8, 300.0, 0.0], [1.0, 40.0, 1.0]),
        # 20 samples of 1,628 with the mean 1e4 and all others as they are: what one liar of twenty does
        ([132.0, 300.0, 0.0], [1_100.0, 40.0, 0.1]),
    ],
)
def test_a_classifier_answers_as_before(other: tuple[list[float], list[float]]) -> None:
    before, after = classifier(*other), classifier([9.8, 300.0, 0.0], [1.0, 40.0, 0.1])
    vector = initialize(before, np.random.default_rng(2)).astype(np.float32)
    folded = fold(before, after, vector)
    assert folded is not None
    assert folded.dtype == np.float32
    assert np.abs(answers(before, vector, RAW) - answers(after, folded, RAW)).max() < 1e-4
    again = fold(before, after, vector)
    assert again is not None
    assert again.tobytes() == folded.tobytes()


def test_a_regression_answers_as_before() -> None:
    before, after = regression([50.0, -3.0], [10.0, 0.5]), regression([20.0, 0.0], [2.0, 4.0])
    vector = initialize(before, np.random.default_rng(3)).astype(np.float32)
    folded = fold(before, after, vector)
    assert folded is not None
    assert np.allclose(answers(before, vector, SMALL), answers(after, folded, SMALL), rtol=1e-5, atol=1e-5)


def test_a_column_that_was_useless_can_be_learnt_from_again() -> None:
    """At the mean 1e30 a column is a constant; folded it still is one, and its weights can move again."""
    before, after = classifier([9.8, 1e30, 0], [1, 1e30, 0.1]), classifier([9.8, 300, 0], [1, 40, 0.1])
    vector = initialize(before, np.random.default_rng(2)).astype(np.float32)
    folded = fold(before, after, vector)
    assert folded is not None
    assert np.abs(answers(before, vector, RAW) - answers(after, folded, RAW)).max() < 1e-4
    assert np.abs(folded[7:14]).max() < 1e-20  # that column's row of the first layer


def test_what_is_not_finite_afterwards_is_no_model() -> None:
    before, after = regression([0.0, 0.0], [1e30, 1.0]), regression([0.0, 0.0], [1e-20, 1.0])
    vector = initialize(before, np.random.default_rng(3)).astype(np.float32)
    assert fold(before, after, vector) is None


@pytest.mark.parametrize("first", [ReLU(), Tanh()])
def test_behind_an_activation_no_weights_answer_as_before(first: LayerSpec) -> None:
    def network(mean: float) -> NetworkSpec:
        layers = (affine(Standardize, [mean], [1.0]), first, Dense(units=2))
        return NetworkSpec(inputs=1, layers=layers, loss="cross-entropy")

    assert fold(network(0.0), network(1.0), np.ones(4, np.float32)) is None
