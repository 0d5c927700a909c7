"""What labels mean: classes by name, by what the owner says, or by number."""

from typing import Any

import numpy as np
import pytest

from agent.data.dataset import fit
from agent.data.labels import UNKNOWN, advice, read_labels, suggestions
from agent.data.unfit import Unfit
from agent.settings.data import DataSettings
from agent.sources.arrays import samples_from_arrays
from fedge.wire.reasons import Reason
from tests.agent.test_dataset import WALK_RUN, X, classifier
from tests.wording import assert_tells


def fitted(labels: list[Any], settings: dict[str, Any], *classes: str) -> Any:
    samples = samples_from_arrays("f", X, labels)
    task = classifier(*classes) if classes else WALK_RUN
    return fit(samples, task, DataSettings(holdout=0, **settings))


def refused(labels: list[Any], settings: dict[str, Any], *classes: str) -> Unfit:
    with pytest.raises(Unfit) as caught:
        fitted(labels, settings, *classes)
    assert caught.value.reason == Reason.BAD_DATA
    return caught.value


def test_a_text_is_mapped_where_the_owner_allows_it() -> None:
    labels = ["Walk", "run", "RUN"] * 10
    meant = {"Walk": "walk", "RUN": "run", "jump": "jumping"}
    assert fitted(labels, {"labels": meant}).y.tolist() == [0, 1, 1] * 10
    assert fitted([0, 1, 2] * 10, {"labels": {"2": "run"}}).y.tolist() == [0, 1, 1] * 10


def test_a_label_in_another_case_gets_did_you_mean_but_is_not_quoted() -> None:
    unfit = refused(["Walk", "run", "run"] * 10, {})
    assert_tells(str(unfit), "10 ", "walk, run", "did you mean 'walk'?")
    assert "Walk" not in str(unfit)
    assert "did you mean" not in unfit.public, "it would tell of the data"


def test_rows_of_unknown_classes_are_left_out_and_counted() -> None:
    dataset = fitted(["walk", "swim", "run"] * 10, {"unknown_labels": "drop"})
    assert (dataset.y.tolist(), dataset.unknown) == ([0, 1] * 10, 10)
    np.testing.assert_array_equal(dataset.X, np.delete(X, range(1, 30, 3), axis=0))
    with pytest.raises(Unfit) as caught:
        fitted(["walk", "swim", "swim"] * 10, {"unknown_labels": "drop"})
    assert caught.value.reason == Reason.TOO_FEW_SAMPLES
    assert_tells(caught.value.public, "10 samples", "20", "30 rows", "0 ", "0 ", "0 ", "20 ", "classes")


def test_a_missing_value_in_a_row_that_is_left_out_does_not_matter() -> None:
    holes = X.copy()
    holes[1] = np.nan
    samples = samples_from_arrays("f", holes, ["walk", "swim", "run"] * 10)
    assert len(fit(samples, WALK_RUN, DataSettings(holdout=0, unknown_labels="drop")).X) == 20


def test_numbers_that_run_from_one_are_refused_until_the_owner_says_what_they_mean() -> None:
    labels = [1, 2, 3] * 10
    names = ("leak", "cavitation", "fine")
    unfit = refused(labels, {}, *names)
    assert_tells(str(unfit), "f: y: ", "1 to 3", "from 0", "1 is 'leak'", "[data] first_class = 1")
    assert_tells(unfit.public, "1 to 3", "from 0", "[data] first_class = 1")
    assert fitted(labels, {"first_class": 1}, *names).y.tolist() == [0, 1, 2] * 10
    assert_tells(str(refused(labels, {"first_class": 0}, *names)), "f: row 2: y ")  # 3 is none then
    assert fitted([1, 2, 3] * 10, {}, "1", "2", "3").y.tolist() == [0, 1, 2] * 10, "they are names"
    assert fitted([1, 2] * 15, {}, *names).y.tolist() == [1, 2] * 15, "which a device may well have"


def test_unknown_texts_are_counted_the_most_first() -> None:
    samples = samples_from_arrays("f", np.zeros((6, 1)), ["b", "a", "b", "", "walk", "c"])
    labels = read_labels(samples, ("walk",), {}, None)
    assert labels.indices.tolist() == [UNKNOWN, UNKNOWN, UNKNOWN, -1, 0, UNKNOWN]
    assert list(labels.unknown.items()) == [("b", 2), ("a", 1), ("c", 1)]


def test_what_is_meant_is_proposed_as_it_is_written_into_the_configuration() -> None:
    classes = ("walk", "sit", "going up")
    assert suggestions(["WALK", "sitting", "Going_Up", "xyz"], classes) == {
        "WALK": "walk",
        "sitting": "sit",
        "Going_Up": "going up",
    }
    said = advice({"WALK": 3, "Going Up!": 1}, classes)
    assert 'labels = { WALK = "walk", "Going Up!" = "going up" }' in said
    assert "did you mean" not in advice({"xyz": 3}, classes)
    assert 'unknown_labels = "drop"' in advice({"xyz": 3}, classes)
