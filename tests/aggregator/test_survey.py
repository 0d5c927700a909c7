import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.aggregation.survey import MIN_SAMPLES, Measured, Unmeasured, check, standardize
from fedge.data.moments import Moments, measure
from fedge.nn.spec import Dense, NetworkSpec, ReLU, Rescale, Standardize
from fedge.wire.messages.survey import ClassCount, Survey
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Reason, Rejection
from tests.wording import assert_tells, telling

CAP = 100_000
CLASSIFIER = Task(
    network=NetworkSpec(inputs=2, layers=(Dense(units=3),), loss="cross-entropy"),
    features=("volts", "amps"),
    classes=("idle", "busy", "broken"),
)
REGRESSION = Task(
    network=NetworkSpec(inputs=2, layers=(Dense(units=4), ReLU(), Dense(units=1)), loss="mse"),
    features=("volts", "amps"),
    targets=("celsius",),
    reconnect_spread_s=7.0,
)


def moments(*columns: tuple[float, float, float]) -> Moments:
    return Moments(*np.array(columns, dtype=np.float64).T)


def survey(features: Moments, targets: Moments | None = None, samples: int = 100) -> Survey:
    return Survey(
        generation=1,
        round=0,
        base=bytes(32),
        device="pi-1",
        samples=samples,
        features=features.to_bytes(),
        targets=b"" if targets is None else targets.to_bytes(),
    )


GOOD = (100.0, 5.0, 30.0)


def test_a_true_survey_of_a_classifier_passes() -> None:
    X = np.random.default_rng(1).normal(3, 2, size=(MIN_SAMPLES, 2))
    X[4, 1] = np.nan
    measured = check(survey(measure(X), samples=MIN_SAMPLES), CLASSIFIER, CAP)
    assert isinstance(measured, Measured)
    assert measured.features.to_bytes() == measure(X).to_bytes()
    assert measured.targets is None


def test_classes_are_taken_as_they_are_told_and_move_no_frozen_layer() -> None:
    told = tuple(ClassCount(name=name, rows=50) for name in ("walk", "jog"))
    plain = check(survey(moments(GOOD, GOOD)), CLASSIFIER, CAP)
    telling = check(survey(moments(GOOD, GOOD)).model_copy(update={"classes": told}), CLASSIFIER, CAP)
    assert isinstance(plain, Measured)
    assert isinstance(telling, Measured)
    assert (plain.classes, telling.classes) == (None, {"walk": 50, "jog": 50})
    assert standardize(CLASSIFIER, {"a": plain}) == standardize(CLASSIFIER, {"a": telling})
    regression = survey(moments(GOOD, GOOD), moments(GOOD)).model_copy(update={"classes": told})
    measured = check(regression, REGRESSION, CAP)
    assert isinstance(measured, Measured)
    assert measured.classes is None


def test_more_rows_by_class_than_rounding_makes_of_the_samples_are_refused() -> None:
    for rows, holds in ((200, True), (201, False)):
        told = (ClassCount(name="walk", rows=rows),)
        found = check(survey(moments(GOOD, GOOD)).model_copy(update={"classes": told}), CLASSIFIER, CAP)
        assert isinstance(found, Measured) is holds
        assert holds or (isinstance(found, Rejection) and found.reason is Reason.IMPLAUSIBLE)


def test_a_true_survey_of_a_regression_passes_with_its_targets() -> None:
    measured = check(survey(moments(GOOD, GOOD), moments(GOOD)), REGRESSION, CAP)
    assert isinstance(measured, Measured)
    assert measured.targets is not None
    assert measured.targets.to_bytes() == moments(GOOD).to_bytes()


def test_a_device_need_not_have_measured_every_column() -> None:
    assert isinstance(check(survey(moments(GOOD, (0, 0, 0))), CLASSIFIER, CAP), Measured)


@pytest.mark.parametrize("samples", [-1, 0, MIN_SAMPLES - 1, CAP + 1, 2**70])
def test_too_few_or_too_many_samples_are_refused(samples: int) -> None:
    refusal = check(survey(moments((1, 0, 0), (1, 0, 0)), samples=samples), CLASSIFIER, CAP)
    assert isinstance(refusal, Rejection)
    assert refusal.reason == Reason.BAD_SAMPLE_COUNT
    assert_tells(refusal.detail, f"{samples} samples", f"{MIN_SAMPLES} ", f"{CAP}")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ((np.nan, 0, 0), Reason.NOT_FINITE),
        ((100, np.inf, 0), Reason.NOT_FINITE),
        ((100, 0, np.nan), Reason.NOT_FINITE),
        ((99.5, 0, 0), Reason.BAD_SAMPLE_COUNT),
        ((101, 0, 0), Reason.BAD_SAMPLE_COUNT),
        ((1.7e308, 1, 100), Reason.BAD_SAMPLE_COUNT),
        ((-1, 0, 0), Reason.BAD_SAMPLE_COUNT),
        ((100, 1.1e30, 0), Reason.IMPLAUSIBLE),
        ((100, -1.1e30, 0), Reason.IMPLAUSIBLE),
        ((100, 0, -1e-9), Reason.IMPLAUSIBLE),
        ((1, 5, 1e-9), Reason.IMPLAUSIBLE),
        ((0, 0, 1e-9), Reason.IMPLAUSIBLE),
        ((100, 0, 1.1e62), Reason.IMPLAUSIBLE),
    ],
)
def test_moments_that_cannot_be_true_are_refused_with_the_name_of_their_column(bad, reason) -> None:
    in_features = check(survey(moments(GOOD, bad)), CLASSIFIER, CAP)
    in_targets = check(survey(moments(GOOD, GOOD), moments(bad)), REGRESSION, CAP)
    for refusal, column in ((in_features, "amps"), (in_targets, "celsius")):
        assert isinstance(refusal, Rejection)
        assert refusal.reason is reason
        assert refusal.detail.startswith(f"column {column!r}: ")


@pytest.mark.parametrize(
    ("task", "features", "targets"),
    [
        (CLASSIFIER, moments(GOOD), None),
        (CLASSIFIER, moments(GOOD, GOOD, GOOD), None),
        (CLASSIFIER, moments(GOOD, GOOD), moments(GOOD)),
        (REGRESSION, moments(GOOD, GOOD), None),
        (REGRESSION, moments(GOOD, GOOD), moments(GOOD, GOOD)),
    ],
)
def test_other_columns_than_the_tasks_are_refused(task, features, targets) -> None:
    refusal = check(survey(features, targets), task, CAP)
    assert isinstance(refusal, Rejection)
    assert refusal.reason is Reason.WRONG_LENGTH


def test_a_classifier_gets_the_fleets_mean_and_deviation_as_its_first_layer() -> None:
    X = np.random.default_rng(2).normal((230.0, 0.5), (3.0, 0.1), size=(300, 2))
    parts = np.split(X, [20, 90])
    surveys = {f"pi-{k}": Measured(measure(part), None) for k, part in enumerate(parts)}
    task = standardize(CLASSIFIER, surveys, "survey/1")
    assert isinstance(task, Task)
    first, *rest = task.network.layers
    assert isinstance(first, Standardize)
    # Rounded to float32 once, after float64 sums: half a unit, 2^-24 = 6e-8, of each.
    np.testing.assert_allclose(first.means, X.mean(axis=0), rtol=6e-8)
    np.testing.assert_allclose(first.scales, X.std(axis=0), rtol=6e-8)
    assert tuple(rest) == CLASSIFIER.network.layers
    assert task.model_copy(update={"network": CLASSIFIER.network}) == CLASSIFIER


def test_a_regression_gets_its_targets_rescaled_as_well() -> None:
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(50, 2)), rng.normal(21, 4, size=(50, 1))
    task = standardize(REGRESSION, {"pi-1": Measured(measure(X), measure(y))})
    assert isinstance(task, Task)
    first, *core, last = task.network.layers
    assert isinstance(first, Standardize)
    assert isinstance(last, Rescale)
    assert tuple(core) == REGRESSION.network.layers
    np.testing.assert_allclose(last.means, y.mean(axis=0), rtol=6e-8)
    np.testing.assert_allclose(last.scales, y.std(axis=0), rtol=6e-8)
    assert task.network.schema == REGRESSION.network.schema
    assert task.reconnect_spread_s == 7.0


# Means that all but cancel: another order of merging would show in the first digits.
FLEET = {
    f"pi-{k}": Measured(moments((20 + k, mean, 5), (20, -mean, 7)), None)
    for k, mean in enumerate((1e15, -2e15, 3.3e14, 7e14, -1e3, 0.1, 12.7, -3e13))
}


@settings(deadline=None, max_examples=30)
@given(st.permutations(list(FLEET)))
def test_the_order_of_the_surveys_changes_no_bit(devices: list[str]) -> None:
    expected = standardize(CLASSIFIER, FLEET)
    assert standardize(CLASSIFIER, {device: FLEET[device] for device in devices}) == expected


def scale_of(*column: tuple[float, float, float]) -> np.ndarray:
    task = standardize(CLASSIFIER, {"pi-1": Measured(moments(*column), None)})
    assert isinstance(task, Task)
    first = task.network.layers[0]
    assert isinstance(first, Standardize)
    return first.scales


def test_a_constant_column_gets_scale_one() -> None:
    np.testing.assert_array_equal(scale_of((100, 0, 0), (100, -273.15, 0)), [1, 1])


@pytest.mark.parametrize("mean", [3.0, -1e4])
def test_a_spread_below_eight_float32_units_of_the_mean_counts_as_constant(mean: float) -> None:
    unit = 2.0**-23 * abs(mean)
    below, above = 7.9 * unit, 8.1 * unit
    np.testing.assert_allclose(
        scale_of((100, mean, 100 * below**2), (100, mean, 100 * above**2)), [1, above], rtol=1e-7
    )


def test_rounding_of_a_huge_constant_is_not_blown_up() -> None:
    # One float32 unit of 1e9 is 64: with scale 1 a constant column could give standardized values of 64.
    (scale, _) = scale_of((100, 1e9, 0), GOOD)
    assert np.spacing(np.float32(1e9)) / scale <= 1 / 8 * 1.1


def test_a_spread_too_small_for_float32_counts_as_constant() -> None:
    tiny, small = 1e-39, 1e-37
    np.testing.assert_allclose(
        scale_of((100, 0, 100 * tiny**2), (100, 0, 100 * small**2)), [1, small], rtol=1e-6
    )


def test_the_largest_moments_that_pass_give_finite_layers() -> None:
    largest = moments((100, 1e30, 100 * 1e60), (100, -1e30, 100 * 1e60))
    opposite = moments((100, -1e30, 100 * 1e60), (100, 1e30, 100 * 1e60))
    devices = {}
    for k, features in enumerate((largest, opposite)):
        devices[f"pi-{k}"] = check(survey(features), CLASSIFIER, CAP)
    assert isinstance(standardize(CLASSIFIER, devices), Task)


def test_columns_that_no_device_measured_are_named() -> None:
    nothing = (0, 0, 0)
    one = Measured(moments(GOOD, nothing), moments(nothing))
    outcome = standardize(REGRESSION, {"pi-1": one, "pi-2": one})
    assert outcome == Unmeasured(("amps", "celsius"))
    assert_tells(
        str(outcome), "'amps', 'celsius'", "new-generation"
    )  # each device's survey counts: it is not asked twice


def test_one_device_that_measured_a_column_is_enough() -> None:
    halves = [Measured(moments(*columns), None) for columns in itertools.permutations((GOOD, (0, 0, 0)))]
    task = standardize(CLASSIFIER, {"pi-1": halves[0], "pi-2": halves[1]})
    assert isinstance(task, Task)
    first = task.network.layers[0]
    assert isinstance(first, Standardize)
    np.testing.assert_array_equal(first.means, [5, 5])


def test_without_any_survey_there_is_nothing_to_standardize_with() -> None:
    with pytest.raises(ValueError, match=telling("device")):
        standardize(CLASSIFIER, {})


def test_a_network_is_standardized_once() -> None:
    once = standardize(CLASSIFIER, FLEET)
    assert isinstance(once, Task)
    with pytest.raises(ValueError, match=telling("standardize", "first")):
        standardize(once, FLEET)
