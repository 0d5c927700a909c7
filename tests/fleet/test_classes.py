"""The part of the report that tells of classes."""

import numpy as np

from fedge.data.scores import classification, regression
from fleet.demo.classes import _rounds, by_class, by_round
from fleet.demo.history import RoundScores
from fleet.demo.scoring import by_class as scored

CLASSES = ("walk", "<run>", "fly")
TRUTH = np.array([0, 0, 0, 1])


def after(number: int, predicted: list[int]) -> RoundScores:
    scores = classification(TRUTH, np.array(predicted), CLASSES)
    return RoundScores(number, scores.accuracy, scores)


def test_the_table_has_each_class_with_who_holds_it_and_what_it_is_taken_for() -> None:
    predicted = np.array([0, 0, 1, 1])
    rows = scored(
        CLASSES,
        training={"a": np.array([0, 0]), "b": np.array([0, 1])},
        held_out={"a": TRUTH[:2], "b": TRUTH[2:]},
        predicted=predicted,
    )
    page = by_class(rows, 2, classification(TRUTH, TRUTH, CLASSES))
    cells = [line.split("</td><td>") for line in page.split("<tr><td>")[1:]]
    assert cells[0][:7] == ["walk", "3", "2 of 2", "3", "67%", "100%", "100%"]
    assert cells[0][7].startswith("&lt;run&gt; (1)")
    assert cells[1][:7] == ["&lt;run&gt;", "1", "1 of 2", "1", "100%", "100%", "50%"]
    assert cells[2][:7] == ["fly", "0", "0 of 2", "0", "–", "–", "–"]
    assert "in one place" not in by_class(rows, 2)


def test_what_is_recognised_after_each_round_is_drawn_by_class() -> None:
    history = [after(0, [2, 2, 2, 2]), after(1, [0, 2, 2, 2]), after(2, [0, 0, 0, 1])]
    (drawn,) = _rounds([(one.round, one.scores) for one in history]).data  # type: ignore[misc]
    assert tuple(drawn.x) == (0, 1, 2)
    assert [list(line) for line in drawn.z] == [[0, 1 / 3, 1], [0, 0, 1], [None, None, None]]
    page = by_round(history)
    assert "round 0 is before any training" in page
    assert "<run>" not in page
    assert "rounds from 1 on" in by_round(history[1:])


def test_nothing_is_drawn_of_one_round_or_of_a_regression() -> None:
    scores = regression(np.ones((2, 1)), np.zeros((2, 1)), ("pm",))
    assert by_round([after(0, [0, 0, 0, 0])]) == ""
    assert by_round([RoundScores(0, 1.0, scores), RoundScores(1, 1.0, scores)]) == ""
    assert RoundScores(1, 1.0, scores).as_json() == {"round": 1, "rmse": 1.0, "mae": 1.0}
