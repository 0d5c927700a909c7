"""Each cause is found where it is, with its figure, and not where it is not."""

import numpy as np
import pytest

from fleet.demo.figure import ACCURACY, RMSE
from fleet.trial import sensors, skew, sufficiency
from fleet.trial.finding import Cause
from tests.fleet.trial.tables import table
from tests.wording import assert_tells

RNG = np.random.default_rng(11)


def counts(*devices: list[int]) -> dict[str, np.ndarray]:
    return {f"d{k}": np.array(one) for k, one in enumerate(devices)}


def test_distance_and_chance_are_those_of_the_docstring() -> None:
    assert skew.distance(np.array([10, 0]), np.array([5, 5])) == 0.5
    # drawn 4,000 times, 40 rows of shares (.5, .3, .2)
    shares = np.array([0.5, 0.3, 0.2])
    drawn = [skew.distance(RNG.multinomial(40, shares), shares * 1000) for _ in range(4_000)]
    assert skew.chance(shares, 1 / 40) == pytest.approx(np.mean(drawn), rel=0.05)


def test_label_skew_is_the_mean_distance_from_the_fleet() -> None:
    found = skew.label_skew(counts([100, 0], [0, 100], [50, 50]))
    # two of three are half a unit away; chance takes off √(2 · ¼ / (100 π)) = .04 each
    assert found is not None
    assert found.cause is Cause.LABEL_SKEW
    assert found.value == pytest.approx((0.5 + 0.5 - 2 * 0.0399) / 3, abs=1e-3)
    assert set(found.devices[:2]) == {"d0", "d1"}


def test_few_rows_that_differ_by_chance_are_no_skew() -> None:
    devices = [RNG.multinomial(20, [0.1] * 10).tolist() for _ in range(20)]
    # without what chance explains, such devices would be called skewed: a third of their rows differ
    fleet = np.sum(devices, axis=0)
    assert np.mean([skew.distance(np.array(one), fleet) for one in devices]) > 0.25
    assert skew.label_skew(counts(*devices)) is None


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (["a"] * 50 + ["b"] * 50, True),
        (["a", "b"] * 50, False),
        (RNG.choice(list("abcdef"), 60).tolist(), False),  # by chance .29 of 12 rows would have to be others
    ],
)
def test_a_file_that_is_sorted_by_class_is_found(labels: list[str], found: bool) -> None:
    tables = [table(name, {"x": [0.0] * len(labels)}, labels) for name in ("one", "two", "three")]
    classes = sorted(set(labels))
    finding = skew.sorted_by_class(tables, classes, 0.2)
    assert (finding is not None) == found
    if finding is not None:
        # the last 20 rows are all b, of which the 80 before have 30: 62 % would have to be another class
        assert finding.value == pytest.approx(0.625, abs=0.12)
        assert "(--by every)" in finding.remedy


def test_a_device_of_other_units_is_named_and_natural_differences_are_not() -> None:
    def device(name: str, shift: float, scale: float = 1.0) -> object:
        X = {f"x{k}": (20 + shift + RNG.normal(size=50)) * scale for k in range(5)}
        return table(name, {key: value.tolist() for key, value in X.items()})

    natural = [device(f"d{k}", shift) for k, shift in enumerate((0, 1, 2, 3, 4))]
    assert sensors.unlike(natural, [f"x{k}" for k in range(5)]) == []  # type: ignore[arg-type]
    strange = [*natural, device("kelvin", 273.15)]
    (found,) = sensors.unlike(strange, [f"x{k}" for k in range(5)])  # type: ignore[arg-type]
    assert found.devices == ("kelvin",)
    assert_tells(found.text, "kelvin", "5 of 5")
    assert sensors.unlike(strange[-3:], ["x0"]) == []  # type: ignore[arg-type]


def test_a_column_that_is_mostly_one_value_makes_nobody_unlike_the_others() -> None:
    tables = [table(f"d{k}", {"x": RNG.normal(size=50).tolist(), "rare": [0.0] * 50}) for k in range(6)]
    tables.append(table("d6", {"x": RNG.normal(size=50).tolist(), "rare": [0.0] * 49 + [1.0]}))
    assert sensors.unlike(tables, ["x", "rare"]) == []


def test_a_number_for_no_reading_is_found_with_its_place() -> None:
    good = RNG.normal(20, 2, 100).tolist()
    bad = [*good[:-3], -9999.0, -9999.0, -9999.0]
    tables = [table("one", {"t": good}), table("two", {"t": bad})]
    (found,) = sensors.sentinels(tables, ["t"])
    assert found.cause is Cause.SENTINEL
    assert_tells(found.text, "-9999", "'t'", "3 times")
    assert found.devices == ("two",)


def test_a_number_for_no_reading_is_told_once_with_all_columns_and_one_setting() -> None:
    good = RNG.normal(20, 2, 100).tolist()
    bad, worse = [*good[:-3], *[-9999.0] * 3], [*good[:-3], *[65535.0] * 3]
    found = sensors.sentinels([table("one", {"t": bad, "u": bad, "v": worse})], ["t", "u", "v"])
    assert len(found) == 2
    assert_tells(found[0].text, "-9999", "'t'", "'u'")
    assert_tells(found[1].text, "65535", "'v'")
    assert "'v'" not in found[0].text
    assert not any(name in found[1].text for name in ("'t'", "'u'"))
    assert {one.remedy.split(" if ")[0] for one in found} == {"--data missing_values=[-9999,65535]"}


def test_a_heavy_tail_with_repeated_values_is_no_sign() -> None:
    heavy = np.round(np.exp(np.random.default_rng(2).normal(0, 2, 2_000)), 1)
    heavy = np.concatenate([heavy, [heavy.max()]])  # the largest of all, twice
    assert heavy.max() > 20 * np.median(heavy)
    assert sensors.sentinels([table("one", {"x": heavy.tolist()})], ["x"]) == []


def test_gaps_are_counted_by_row_and_device() -> None:
    holes = [np.nan if k % 10 == 0 else float(k) for k in range(100)]
    whole = [float(k) for k in range(100)]
    tables = [
        table("one", {"x": holes, "z": holes[::-1]}, ["a"] * 99 + [""]),
        table("two", {"x": whole, "z": whole}, ["a"] * 100),
    ]
    assert sensors.lacking(tables, ["x", "z"], "label") == {"one": 20, "two": 0}
    found = sensors.gaps(tables, ["x", "z"], "label", "fill")
    assert found is not None
    assert (found.value, found.devices) == (0.1, ("one",))
    assert_tells(found.text, "20 of 200 rows", "mean", "left out", "one")
    dropped = sensors.gaps(tables, ["x", "z"], "label", "drop")
    assert dropped is not None
    assert "mean" not in dropped.text
    assert sensors.gaps(tables[1:], ["x", "z"], "label", "refuse") is None


def test_rare_classes_and_small_held_out_parts_are_told() -> None:
    found = sufficiency.too_few({"a": 500, "b": 12}, 40)
    rare, held = found
    assert_tells(rare.text, "b (12)")
    assert_tells(held.text, " 40 ")
    assert [(one.cause, one.value) for one in found] == [(Cause.TOO_FEW, 12), (Cause.TOO_FEW, 40)]
    assert sufficiency.too_few({"a": 500, "b": 30}, 60) == []


def test_a_curve_that_still_rises_is_not_over() -> None:
    rising = [0.5 + k / 100 for k in range(20)]
    found = sufficiency.unfinished(ACCURACY, rising)
    assert found is not None
    assert found.value == pytest.approx(0.04)  # the last four against the four before
    assert sufficiency.unfinished(ACCURACY, rising + [0.7] * 20) is None
    assert sufficiency.unfinished(RMSE, [100 / (k + 1) for k in range(20)]) is not None
    assert sufficiency.unfinished(RMSE, rising) is None  # it becomes worse
    assert_tells(found.text, "63.5%", "67.5%", " 4 ")
    short = sufficiency.unfinished(ACCURACY, [0.5, 0.6])
    assert short is not None
    before, figures, after = short.text.partition("50.0% to 60.0%")
    assert figures
    assert not any(letter.isdigit() for letter in before + after), "a single round has no number"
    assert sufficiency.unfinished(ACCURACY, [0.5]) is None
