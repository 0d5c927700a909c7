"""Figures of answers, against values worked out by hand."""

import numpy as np
import pytest

from fedge.data.scores import UNANSWERED, classification, regression


def test_a_classification_by_hand() -> None:
    # Of "a": 3 rows, 2 right, 1 taken for "b". Of "b": 1 row, right. Of "c": 1 row, taken for "a". No "d".
    found = classification(np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 0]), ("a", "b", "c", "d"))
    assert found.accuracy == 3 / 5
    assert found.confusion.tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert found.precision == (2 / 3, 1 / 2, None, None)
    assert found.recall == (2 / 3, 1.0, 0.0, None)
    assert found.counts == (3, 1, 1, 0)
    assert found.unanswered == 0


def test_a_row_without_an_answer_is_wrong_and_counted() -> None:
    found = classification(np.array([0, 0, 1]), np.array([0, UNANSWERED, 1]), ("a", "b"))
    assert found.accuracy == 2 / 3
    assert found.recall == (1 / 2, 1.0)
    assert found.counts == (2, 1)
    assert found.confusion.sum() == 2
    assert found.unanswered == 1


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [([], []), ([0], [0, 1]), ([2], [0]), ([-1], [0]), ([0], [2]), ([0], [-2])],
)
def test_what_is_no_classification_is_refused(truth: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match=r"shape|2 classes"):
        classification(np.array(truth, int), np.array(predicted, int), ("a", "b"))


def test_a_regression_by_hand() -> None:
    truth = np.array([[0.0, 10.0], [4.0, 10.0]])
    found = regression(truth, np.array([[3.0, 10.0], [8.0, 10.0]]), ("x", "y"))
    assert found.rmse == pytest.approx((12.5**0.5, 0.0))  # errors 3 and 4: (9 + 16) / 2
    assert found.mae == (3.5, 0.0)
    assert found.rmse_mean == (2.0, 0.0)  # the mean of 0 and 4 is 2 away from both
    assert (found.rows, found.unanswered) == (2, 0)


def test_a_row_without_numbers_is_left_out_of_a_regression_and_counted() -> None:
    found = regression(np.array([[1.0], [2.0], [50.0]]), np.array([[1.0], [4.0], [np.inf]]), ("x",))
    assert found.rmse == pytest.approx((2**0.5,))
    assert found.rmse_mean == (0.5,)
    assert (found.rows, found.unanswered) == (2, 1)


def test_errors_whose_squares_are_too_large_still_have_a_mean() -> None:
    found = regression(np.array([[1e200], [-1e200]]), np.array([[0.0], [0.0]]), ("x",))
    assert found.rmse == pytest.approx((1e200,))


def test_what_is_no_regression_is_refused() -> None:
    one = np.ones((1, 1))
    with pytest.raises(ValueError, match="no row has an answer"):
        regression(one, one * np.nan, ("x",))
    with pytest.raises(ValueError, match="must be finite"):
        regression(one * np.nan, one, ("x",))
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        regression(one, one, ("x", "y"))
