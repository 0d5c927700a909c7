import numpy as np
import pytest

from fedge.nn.losses import CrossEntropy, MeanSquaredError, softmax
from fedge.nn.spec import Sigmoid


def test_equal_logits_cost_the_logarithm_of_the_classes() -> None:
    loss = CrossEntropy(3, 4, np.float64)
    assert loss.total(np.full((3, 4), 2.5), np.array([0, 1, 3])) == pytest.approx(3 * np.log(4), rel=1e-14)


def test_cross_entropy_of_odds_three_to_one() -> None:
    # softmax(log 3, 0) = (3/4, 1/4)
    loss = CrossEntropy(2, 2, np.float64)
    z, y = np.array([[np.log(3), 0.0], [np.log(3), 0.0]]), np.array([0, 1])
    assert loss.total(z, y) == pytest.approx(-np.log(3 / 4) - np.log(1 / 4), rel=1e-14)
    np.testing.assert_allclose(loss.gradient(z, y, 2.0), [[-0.5, 0.5], [1.5, -1.5]], rtol=1e-14)


def test_huge_logits_do_not_overflow() -> None:
    loss = CrossEntropy(2, 2, np.float32)
    z = np.array([[3e38, -3e38], [1e4, 0.0]], np.float32)
    assert loss.total(z / 2, np.array([0, 1])) == pytest.approx(5e3)
    assert np.isfinite(loss.gradient(z / 2, np.array([0, 1]), 1.0)).all()
    np.testing.assert_array_equal(softmax(z / 2), [[1, 0], [1, 0]])
    assert np.isfinite(Sigmoid().build((2,), 2, slice(0, 0), np.dtype(np.float32)).forward(z)).all()


def test_what_is_not_a_number_stays_so() -> None:
    z = np.array([[0.0, np.nan, 1.0]])
    with np.errstate(invalid="ignore"):
        assert np.isnan(CrossEntropy(1, 3, np.float64).total(z, np.array([0])))


def test_mean_squared_error_is_what_its_name_says() -> None:
    z, y = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 1.0]])
    loss = MeanSquaredError(2, 2, np.float64)
    assert loss.total(z, y) / 2 == np.mean((z - y) ** 2)
    np.testing.assert_array_equal(loss.gradient(z, y, 0.5), 0.5 * (z - y))


def test_softmax_makes_probabilities() -> None:
    z = np.random.default_rng(0).normal(0, 5, (20, 7))
    p = softmax(z)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(np.log(p[:, :1] / p), z[:, :1] - z, atol=1e-12)
