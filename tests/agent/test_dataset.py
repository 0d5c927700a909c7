"""From samples to a data set: columns by name, classes, missing values, and the cut by time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.data.dataset import Dataset, fit
from agent.data.division import divide
from agent.data.features import features
from agent.data.unfit import Unfit
from agent.settings.data import DataSettings
from agent.settings.sources import CsvSettings
from agent.sources import CsvSource, Samples
from agent.sources.arrays import samples_from_arrays
from fedge.nn.spec import Dense, NetworkSpec, Rescale, Standardize
from fedge.wire.messages.fields import MAX_DETAIL, detail_of
from fedge.wire.messages.status import Decline
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Reason
from tests.wording import assert_tells

Layers = tuple[Any, ...]


def standardize(*means: float) -> Standardize:
    return Standardize(mean=np.float32(means).tobytes(), scale=np.ones(len(means), np.float32).tobytes())


def classifier(*classes: str, features: tuple[str, ...] = ("u", "v"), first: Layers = ()) -> Task:
    layers = (*first, Dense(units=len(classes)))
    spec = NetworkSpec(inputs=len(features), layers=layers, loss="cross-entropy")
    return Task(network=spec, features=features, classes=classes)


def regression(*targets: str, features: tuple[str, ...] = ("u", "v"), first: Layers = ()) -> Task:
    spec = NetworkSpec(inputs=len(features), layers=(*first, Dense(units=len(targets))), loss="mse")
    return Task(network=spec, features=features, targets=targets)


N = 30
X = np.arange(2.0 * N).reshape(N, 2)
WALK_RUN = classifier("walk", "run")
ALL = DataSettings(holdout=0)


def with_rule(rule: Any) -> DataSettings:
    return DataSettings(missing=rule, holdout=0)


def from_csv(folder: Path, text: str) -> Samples:
    (folder / "a.csv").write_text(text)
    return CsvSource(folder / "a.csv", "label").read()


def unfit(samples: Samples, task: Task, settings: DataSettings = ALL) -> tuple[Reason, str]:
    with pytest.raises(Unfit) as caught:
        fit(samples, task, settings)
    assert caught.value.exit_code == 65
    return caught.value.reason, str(caught.value)


def assert_unfit(samples: Samples, task: Task, reason: Reason, *facts: str) -> None:
    found, text = unfit(samples, task)
    assert found == reason
    assert_tells(text, *facts)


# Columns


def test_features_are_chosen_by_name_in_the_tasks_order(tmp_path: Path) -> None:
    rows = "".join(f"{i},note,{2 * i},walk\n" for i in range(N))
    samples = from_csv(tmp_path, "v,note,u,label\n" + rows)
    dataset = fit(samples, WALK_RUN, ALL)
    np.testing.assert_array_equal(dataset.X, np.float32([[2 * i, i] for i in range(N)]))
    assert dataset.y.tolist() == [0] * N
    assert (dataset.held_X.shape, dataset.held_y.shape) == ((0, 2), (0,))


def test_unnamed_columns_are_taken_by_number() -> None:
    dataset = fit(samples_from_arrays("f", X, ["run"] * N), WALK_RUN, ALL)
    np.testing.assert_array_equal(dataset.X, X)
    reason, text = unfit(samples_from_arrays("f", np.ones((N, 3)), ["run"] * N), WALK_RUN)
    assert reason == Reason.WRONG_INPUT
    assert_tells(text, "f: X ", "3 columns", "2 features", "u, v")


def test_the_samples_are_left_as_they_were() -> None:
    samples = samples_from_arrays("f", np.where(X == 8, np.nan, X), ["run"] * N)
    before = samples.X.copy()
    fit(samples, classifier("walk", "run", first=(standardize(1, 2),)), with_rule("fill"))
    np.testing.assert_array_equal(samples.X, before)


@pytest.mark.parametrize("rule", ["drop", "fill"])
def test_inputs_are_exact_for_a_task_that_takes_float64_and_gaps_are_its_exact_means(rule: str) -> None:
    """Rows for training and rows held out; numbers of float32 are 128 apart there."""
    mean = 1.7e9 + 37.75
    narrow, scale = np.float32([mean]), np.float32([2])
    exact = Standardize(
        mean=narrow.tobytes(), scale=scale.tobytes(), rest=np.float32(mean - narrow.astype(float)).tobytes()
    )
    seconds = 1.7e9 + 0.25 + np.arange(40.0)
    seconds[[3, 39]] = np.nan
    samples = samples_from_arrays("f", seconds[:, None], ["walk", "run"] * 20)
    task = classifier("walk", "run", features=("u",), first=(exact,))
    found = fit(samples, task, DataSettings(missing=rule, holdout=0.25))
    kept = np.where(np.isnan(seconds), mean, seconds) if rule == "fill" else seconds[~np.isnan(seconds)]
    assert found.X.dtype == np.float64
    np.testing.assert_array_equal(np.concatenate((found.X, found.held_X))[:, 0], kept)
    ordinary = classifier("walk", "run", features=("u",), first=(standardize(0),))
    assert fit(samples, ordinary, DataSettings(missing=rule, holdout=0.25)).X.dtype == np.float32


def test_columns_that_are_missing(tmp_path: Path) -> None:
    samples = from_csv(tmp_path, "u,w,label\n" + "1,2,walk\n" * N)
    place = f"{tmp_path}/a.csv"
    lacks = Reason.WRONG_INPUT
    assert_unfit(samples, WALK_RUN, lacks, f"{place}: ", "column 'v'", "1 of", "2 features", "u, w, label")
    numbers = regression("t", features=("u", "w"))
    assert_unfit(samples, numbers, lacks, f"{place}: ", "column 't'", "1 of", "1 targets", "u, w, label")
    samples = from_csv(tmp_path, "u,v\n" + "1,2\n" * N)
    assert_unfit(samples, WALK_RUN, lacks, f"{place}: ", "column 'label'", "u, v")


def test_only_columns_of_the_task_must_be_numbers(tmp_path: Path) -> None:
    samples = from_csv(tmp_path, "u,v,label\n" + "1,2,walk\n" * N + "1,abc,walk\n")
    expected = f"{tmp_path}/a.csv: line {N + 2}, column 'v': "
    assert_unfit(samples, WALK_RUN, Reason.BAD_DATA, expected, '[data] missing = "drop"', '"fill"')
    assert len(fit(samples, classifier("walk", "run", features=("u",)), ALL).X) == N + 1
    dropping = ALL.model_copy(update={"missing": "drop"})
    assert len(fit(samples, WALK_RUN, dropping).X) == N, "one bad cell costs one row"
    text = from_csv(tmp_path, "u,v,label\n" + "1,abc,walk\n" * N)
    reason, told = unfit(text, WALK_RUN, dropping)
    assert (reason, "[data] missing" in told) == (Reason.BAD_DATA, False), "a column of text is no number"
    assert_tells(told, f"{tmp_path}/a.csv: line 2, column 'v': ")


# Answers


def test_class_names_become_indices(tmp_path: Path) -> None:
    samples = from_csv(tmp_path, "u,v,label\n" + "1,2,run\n1,2,walk\n" * N)
    dataset = fit(samples, WALK_RUN, ALL)
    assert dataset.y.tolist() == [1, 0] * N
    assert dataset.y.dtype == np.int64


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        (("walk", "run"), [0, 1, 1], [0, 1, 1]),
        (("walk", "run"), [False, True, True], [0, 1, 1]),
        (("1", "2"), [1, 2, 2], [0, 1, 1]),
        (("1", "0"), [0, 1, 1], [1, 0, 0]),
        (("1", "0"), ["0", "1", "1"], [1, 0, 0]),
    ],
    ids=["indices", "booleans", "names-from-1", "names-in-another-order", "text"],
)
def test_integers_are_indices_unless_classes_are_named_by_them(
    classes: tuple[str, ...], labels: list[Any], expected: list[int]
) -> None:
    dataset = fit(samples_from_arrays("f", X, labels * 10), classifier(*classes), ALL)
    assert dataset.y.tolist() == expected * 10


@pytest.mark.parametrize(
    ("classes", "label"),
    [(("walk", "run"), 2), (("walk", "run"), -1), (("1", "2"), 0), (("walk", "run"), "jump")],
)
def test_unknown_classes_are_refused_without_naming_them(classes: tuple[str, ...], label: Any) -> None:
    labels = [type(label)(classes[0]) if classes[0].isdigit() or isinstance(label, str) else 0] * N
    labels[7] = label
    reason, text = unfit(samples_from_arrays("f", X, labels), classifier(*classes))
    assert reason == Reason.BAD_DATA
    names = ", ".join(classes)
    assert_tells(
        text, "f: row 7: y ", "1 ", names, "`fedge-agent --check`", "[data] labels", "unknown_labels"
    )
    assert label in range(-1, 3) or str(label) not in text


def test_answers_of_the_wrong_kind() -> None:
    wrong = Reason.WRONG_INPUT
    numbers = samples_from_arrays("f", X, np.ones(N))
    assert_unfit(numbers, WALK_RUN, wrong, "f: y ", "integers", "(samples,)", "float64", "(30,)")
    assert_unfit(samples_from_arrays("f", X), WALK_RUN, wrong, "f: ", "y", "class")
    assert_unfit(samples_from_arrays("f", X), regression("t"), wrong, "f: y ", "targets t", "none")
    assert_unfit(samples_from_arrays("f", X, ["a"] * N), regression("t"), wrong, "f: y ", "targets t", "text")
    two = samples_from_arrays("f", X, X)
    assert_unfit(two, regression("s", "t", "w"), wrong, "f: y ", "(30, 2)", "3 targets", "s, t, w")
    y = np.ones(N)
    y[3] = 1e39
    large = samples_from_arrays("f", X, y)
    assert_unfit(large, regression("t"), Reason.BAD_DATA, "f: row 3: y ", "float32")


def test_targets_are_columns_or_y(tmp_path: Path) -> None:
    task = regression("t", "s", features=("u",))
    samples = from_csv(tmp_path, "s,t,u,label\n" + "1,2,3,x\n" * N)
    dataset = fit(samples, task, ALL)
    np.testing.assert_array_equal(dataset.y, np.float32([[2, 1]] * N))
    assert dataset.y.dtype == np.float32
    one = fit(samples_from_arrays("f", X, range(N)), regression("t"), ALL)
    assert one.y.tolist() == [[i] for i in range(N)]
    named = samples_from_arrays("f", X, X + 1, features=["u", "other"])
    np.testing.assert_array_equal(fit(named, task, ALL).y, X + 1)


def test_the_label_column_may_be_the_target(tmp_path: Path) -> None:
    samples = from_csv(tmp_path, "u,label\n" + "1,2.5\n" * N)
    assert fit(samples, regression("label", features=("u",)), ALL).y.tolist() == [[2.5]] * N


# Missing values


def test_refuse_names_the_place(tmp_path: Path) -> None:
    rows = ["1,2,walk\n"] * N
    advice = ('[data] missing = "drop"', '"fill"')
    rows[4] = "1,,walk\n"
    gap = from_csv(tmp_path, "u,v,label\n" + "".join(rows))
    assert_unfit(gap, WALK_RUN, Reason.BAD_DATA, f"{tmp_path}/a.csv: line 6: column 'v' ", *advice)
    rows[4] = "1,2,\n"
    gap = from_csv(tmp_path, "u,v,label\n" + "".join(rows))
    assert_unfit(gap, WALK_RUN, Reason.BAD_DATA, f"{tmp_path}/a.csv: line 6: the answer ", *advice)
    holes = np.where(X == 9, np.nan, X)
    gap = samples_from_arrays("f", holes, [0] * N)
    assert_unfit(gap, WALK_RUN, Reason.BAD_DATA, "f: row 4: column 1 (v) ", *advice)


def test_a_missing_value_elsewhere_does_not_matter(tmp_path: Path) -> None:
    samples = from_csv(tmp_path, "u,v,w,label\n" + "1,2,,walk\n" * N)
    assert len(fit(samples, WALK_RUN, ALL).X) == N


def with_holes() -> tuple[Samples, np.ndarray]:
    """Row 2 lacks v, row 5 its answer."""
    holes = X.copy()
    holes[2, 1] = np.nan
    return samples_from_arrays("f", holes, ["" if i == 5 else "walk" for i in range(N)]), holes


def test_drop_leaves_out_the_row() -> None:
    samples, holes = with_holes()
    dataset = fit(samples, WALK_RUN, with_rule("drop"))
    np.testing.assert_array_equal(dataset.X, np.delete(holes, [2, 5], axis=0))


def test_fill_takes_the_surveys_mean_and_drops_unanswered_rows() -> None:
    samples, holes = with_holes()
    dataset = fit(samples, classifier("walk", "run", first=(standardize(7, -8.5),)), with_rule("fill"))
    holes[2, 1] = -8.5
    np.testing.assert_array_equal(dataset.X, np.delete(holes, 5, axis=0))


def test_fill_before_the_survey_keeps_nan_to_be_counted_out() -> None:
    samples, holes = with_holes()
    dataset = fit(samples, WALK_RUN, with_rule("fill"))
    np.testing.assert_array_equal(dataset.X, np.delete(holes, 5, axis=0))
    assert np.isnan(dataset.X).sum() == 1


def test_targets_are_never_filled() -> None:
    y = np.stack([np.arange(N), np.where(np.arange(N) == 3, np.nan, 1)], axis=1)
    rescale = Rescale(mean=np.float32([5, 5]).tobytes(), scale=np.float32([1, 1]).tobytes())
    spec = NetworkSpec(inputs=2, layers=(standardize(0, 0), Dense(units=2), rescale), loss="mse")
    task = Task(network=spec, features=("u", "v"), targets=("s", "t"))
    dataset = fit(samples_from_arrays("f", X, y), task, with_rule("fill"))
    np.testing.assert_array_equal(dataset.y, np.delete(y, 3, axis=0))


# Training and held-out part


def test_the_end_of_each_series_is_held_out() -> None:
    series = [0, 1] * 20
    samples = samples_from_arrays("f", np.arange(80.0).reshape(40, 2), [0] * 40, series)
    dataset = fit(samples, WALK_RUN, DataSettings(holdout=0.2, gap=0))
    assert (dataset.held_X[:, 0] / 2).tolist() == [32, 33, 34, 35, 36, 37, 38, 39]
    assert (dataset.X[:, 0] / 2).tolist() == list(range(32))
    dataset = fit(samples, WALK_RUN, DataSettings(holdout=0.25, gap=2))
    assert (dataset.held_X[:, 0] / 2).tolist() == list(range(30, 40))
    assert (dataset.X[:, 0] / 2).tolist() == list(range(26)), "two rows of each series lie in the gap"


@pytest.mark.parametrize("by", ["every", "random", "series"])
def test_no_row_changes_its_part_because_another_is_kept(by: Any) -> None:
    whole = np.arange(200.0).reshape(100, 2)
    holes = np.where(whole == 20, np.nan, whole)
    series = np.arange(100) // 10
    settings = DataSettings(missing="drop", holdout={"part": 0.3, "by": by})
    tables = (samples_from_arrays("f", table, [0] * 100, series) for table in (whole, holes))
    before, after = (fit(samples, WALK_RUN, settings) for samples in tables)
    assert before.held_X[before.held_X[:, 0] != 20].tolist() == after.held_X.tolist()
    assert before.X[before.X[:, 0] != 20].tolist() == after.X.tolist()
    assert len(before.X) + len(before.held_X) - len(after.X) - len(after.held_X) == 1


def test_too_few_samples_are_told_with_the_reason() -> None:
    y = ["" if i < 3 else "walk" for i in range(N)]
    settings = DataSettings(missing="drop", holdout=0.2, gap=3)
    reason, text = unfit(samples_from_arrays("f", X, y), WALK_RUN, settings)
    assert reason == Reason.TOO_FEW_SAMPLES
    assert_tells(text, "f: 19 samples", "20", "30 rows", "3 ", "missing", "5 ", "held out", "3 ", "gaps")
    assert len(fit(samples_from_arrays("f", X, y), WALK_RUN, settings.model_copy(update={"gap": 2})).X) == 20
    minimum = DataSettings(holdout=0, minimum=31)
    assert unfit(samples_from_arrays("f", X, [0] * N), WALK_RUN, minimum)[0] == Reason.TOO_FEW_SAMPLES


@given(
    series=st.lists(st.integers(0, 4), max_size=60),
    holdout=st.floats(0, 0.9, exclude_max=True),
    gap=st.integers(0, 5),
)
def test_the_cut_is_a_cut_by_time(series: list[int], holdout: float, gap: int) -> None:
    recordings = np.array(series, dtype=np.int64)
    training, held = divide(recordings, holdout, gap)
    assert not set(training) & set(held)
    for recording in set(series):
        rows = np.flatnonzero(recordings == recording).tolist()
        before = [row for row in rows if row in set(training)]
        after = [row for row in rows if row in set(held)]
        assert before == rows[: len(before)]
        assert after == rows[len(rows) - len(after) :]
        assert len(after) <= len(rows) * holdout + 1e-6
        assert len(after) > len(rows) * holdout - 1
        between = len(rows) - len(before) - len(after)
        assert between == (min(gap, len(rows) - len(after)) if after else 0)


@pytest.mark.parametrize("percent", range(90))
def test_the_cut_does_not_suffer_from_binary_fractions(percent: int) -> None:
    training, held = divide(np.zeros(100, dtype=np.int64), percent / 100, 0)
    assert (len(training), len(held)) == (100 - percent, percent)


# What is said of it


def test_a_detail_always_fits_into_a_message() -> None:
    names = tuple(f"{'long' * 40}{i}" for i in range(300))
    with pytest.raises(Unfit) as caught:
        fit(samples_from_arrays("f", np.ones((N, 2)), [0] * N), classifier("a", "b", features=names), ALL)
    detail = detail_of(caught.value.public)
    assert len(detail) == MAX_DETAIL
    Decline(generation=1, round=0, attempt=0, reason=caught.value.reason, detail=detail)


def test_no_value_of_the_data_is_told(tmp_path: Path) -> None:
    secret = "4711"
    for text in (
        f"u,v,label\n1,{secret}x,walk\n",
        f"u,v,label\n1,2,{secret}\n",
        f"u,v,label\n{secret},,walk\n",
    ):
        _, detail = unfit(from_csv(tmp_path, text), WALK_RUN)
        assert secret not in detail.removeprefix(str(tmp_path))


def test_prediction_needs_no_answers() -> None:
    np.testing.assert_array_equal(features(samples_from_arrays("f", X), WALK_RUN), X)


def test_a_data_set_cannot_be_changed() -> None:
    dataset = fit(samples_from_arrays("f", X, [0] * N), WALK_RUN, CsvSettings(source="csv", path=Path("x")))
    assert isinstance(dataset, Dataset)
    assert (len(dataset.X), len(dataset.held_X)) == (24, 6)
    with pytest.raises(AttributeError):
        dataset.X = dataset.held_X  # type: ignore[misc]
