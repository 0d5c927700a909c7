"""Held-out parts class by class."""

import numpy as np
import pytest

from fleet.demo.scoring import by_class


def test_classes_of_a_fleet_by_hand() -> None:
    walk, run, fly = by_class(
        ("walk", "run", "fly"),
        training={"a": np.array([0, 0, 1]), "b": np.array([0])},
        held_out={"a": np.array([0, 1]), "b": np.array([0, 0, 2])},
        predicted=np.array([0, 1, 0, 1, 1]),  # of b: one walk and its fly are taken for run
    )
    assert (walk.training, run.training, fly.training) == (3, 1, 0)
    assert (walk.mistaken, run.mistaken, fly.mistaken) == (1, 0, 1)
    assert (walk.rows, walk.devices, walk.trained) == (3, 2, 2)
    assert (walk.recall, walk.precision, walk.mistaken_for) == (2 / 3, 1.0, "run")
    assert (run.rows, run.devices, run.trained) == (1, 1, 1)
    assert (run.recall, run.precision, run.mistaken_for) == (1.0, 1 / 3, None)
    assert (fly.rows, fly.devices, fly.trained) == (1, 1, 0)
    assert (fly.recall, fly.precision, fly.mistaken_for) == (0.0, None, "run")


def test_predictions_are_of_the_held_out_rows() -> None:
    with pytest.raises(ValueError, match="shape"):
        by_class(("a", "b"), {}, {"x": np.array([0])}, np.array([0, 1]))
