"""Scores as text and as JSON."""

import json
from pathlib import Path

import numpy as np

from fedge.data.scorecard import MOST_MISTAKES, LeftOut, as_json, as_text
from fedge.data.scores import classification, regression

NOTHING = LeftOut()
SOME = classification(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, -1]), ("walk", "run", "fly"))


def test_a_classification_as_text() -> None:
    assert as_text(SOME, LeftOut(unlabelled=3, incomplete=2)) == (
        "accuracy 0.600 on 5 rows; always answering 'walk' has 0.600\n"
        "\n"
        "class  rows  precision  recall\n"
        "walk      3      1.000   0.667\n"
        "run       2      0.500   0.500\n"
        "fly       0          -       -\n"
        "\n"
        "how often a class (line) was taken for another (column)\n"
        "      walk  run  fly\n"
        "walk     2    1    0\n"
        "run      0    1    0\n"
        "fly      0    0    0\n"
        "rows counted as wrong, as a value is missing or too large for the model: 1\n"
        "rows not counted, as the file does not say their answer: 3\n"
        "rows not counted, as [data] missing drops them: 2\n"
    )


def test_of_many_classes_the_commonest_mistakes_are_told() -> None:
    truth = np.repeat(np.arange(30), 4)
    predicted = truth.copy()
    predicted[:3] = 7  # class 0 three times for 7
    predicted[40:42] = 3  # class 10 twice for 3
    text = as_text(classification(truth, predicted, tuple(f"c{i}" for i in range(30))), NOTHING)
    assert text.endswith("the commonest mistakes\n     3  c0 taken for c7\n     2  c10 taken for c3\n")
    predicted = np.roll(truth, 4)
    text = as_text(classification(truth, predicted, tuple(f"c{i}" for i in range(30))), NOTHING)
    assert text.count(" taken for ") == MOST_MISTAKES


def test_a_classification_as_json() -> None:
    found = json.loads(json.dumps(as_json(SOME, LeftOut(unlabelled=3)), allow_nan=False))
    assert found == {
        "rows": 5,
        "unanswered": 1,
        "unlabelled": 3,
        "incomplete": 0,
        "accuracy": 0.6,
        "accuracy_commonest": 0.6,
        "classes": [
            {"class": "walk", "rows": 3, "precision": 1.0, "recall": 2 / 3},
            {"class": "run", "rows": 2, "precision": 0.5, "recall": 0.5},
            {"class": "fly", "rows": 0, "precision": None, "recall": None},
        ],
        "confusion": [[2, 1, 0], [0, 1, 0], [0, 0, 0]],
    }


def test_the_documentation_shows_what_is_printed() -> None:
    confusion = [[10, 0, 0], [1, 8, 1], [0, 2, 8]]
    pairs = [(i, j) for i in range(3) for j in range(3) for _ in range(confusion[i][j])]
    truth, predicted = np.array(pairs).T
    text = as_text(classification(truth, predicted, ("normal", "cavitation", "bearing")), NOTHING)
    page = Path(__file__).parents[2] / "docs" / "evaluate.md"
    assert f"```\nthe model of round 1.20: {text}```\n" in page.read_text(encoding="utf-8")


def test_a_regression_as_text_and_json() -> None:
    truth = np.array([[0.0], [4.0], [9.0]])
    scores = regression(truth, np.array([[3.0], [8.0], [np.nan]]), ("speed",))
    assert as_text(scores, NOTHING) == (
        "2 rows, each target in its own unit\n"
        "\n"
        "target   RMSE  MAE  RMSE of always the mean\n"
        "speed   3.536  3.5                        2\n"
        "rows not counted, as a value is missing or too large for the model: 1\n"
    )
    assert as_json(scores, NOTHING) == {
        "rows": 2,
        "unanswered": 1,
        "unlabelled": 0,
        "incomplete": 0,
        "targets": [{"target": "speed", "rmse": 12.5**0.5, "mae": 3.5, "rmse_mean": 2.0}],
    }


def test_a_terminal_obeys_no_name() -> None:
    scores = classification(np.array([0, 1]), np.array([1, 0]), ("a\x1b[2J", "b"))
    assert "\x1b" not in as_text(scores, NOTHING)
    scores_of_many = classification(np.array([0, 1]), np.array([1, 0]), tuple(f"\x1b{i}" for i in range(20)))
    assert "\x1b" not in as_text(scores_of_many, NOTHING)
    assert "\x1b" not in as_text(regression(np.ones((1, 1)), np.ones((1, 1)), ("\x1b",)), NOTHING)
