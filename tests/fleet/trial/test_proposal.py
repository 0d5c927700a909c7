"""What is proposed for data of each kind, and why columns are left out."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from agent.sources import CsvSource
from fedge.errors import DataError, FedgeError
from fleet.trial.proposal import Proposal, Wish, holdout_setting, propose
from fleet.trial.table import Table, table_of
from tests.fleet.trial.tables import table
from tests.wording import assert_tells

RNG = np.random.default_rng(7)
N = 60


def noise() -> list[float]:
    return RNG.normal(size=N).tolist()


def mixed(classes: str = "ab") -> list[str]:
    return [classes[k % len(classes)] for k in range(N)]


def pair(**columns: tuple[list[float], list[float]]) -> list[Table]:
    return [
        table(name, {"x": noise(), **{key: value[k] for key, value in columns.items()}}, mixed())
        for k, name in enumerate(("one", "two"))
    ]


def usable(tables: list[Table]) -> tuple[tuple[str, ...], dict[str, str]]:
    found = propose(tables, Wish(label="label"))
    return found.features, dict(found.left_out)


COUNTER = [float(k) for k in range(N)]


@pytest.mark.parametrize(
    ("name", "one", "two", "reason"),
    [
        ("n", COUNTER, [k * 2 + 5 for k in COUNTER], "counter"),
        # epoch seconds as float32: many rows share a value
        (
            "Time",
            [np.float32(1.7e9 + k) for k in range(N)],
            [np.float32(1.8e9 + k) for k in range(N)],
            "time",
        ),
        ("row", RNG.permutation(N).tolist(), RNG.permutation(N).tolist(), " id "),
        ("user_id", [3.0] * N, [3.0] * 30 + [4.0] * 30, " id "),
        ("wearer", [3.0] * N, [8.0] * N, "device"),
        ("flat", [3.5] * N, [3.5] * N, "same"),
        ("void", [np.nan] * N, [1.0, 2.0, *[np.nan] * (N - 2)], "98%"),
        (
            "code",
            [float(k % 2) for k in range(N)],
            [float(k % 2) for k in range(N)],
            "class",
        ),
    ],
)
def test_what_is_no_measurement_is_left_out_with_its_reason(
    name: str, one: list[float], two: list[float], reason: str
) -> None:
    features, left_out = usable(pair(**{name: (one, two)}))
    assert features == ("x",)
    assert reason in left_out[name]


@pytest.mark.parametrize(
    ("name", "one", "two"),
    [
        ("falls", COUNTER, COUNTER[::-1]),  # grows on one device only
        ("time", noise(), noise()),  # is called so and is none
        ("calibration", [3.5] * N, [3.6] * N),  # the same within each device, and no whole number
        ("parity", [float(k % 2) for k in range(N)], [float(k % 3) for k in range(N)]),
        ("gappy", [np.nan] * 25 + noise()[25:], [np.nan] * 25 + noise()[25:]),
    ],
)
def test_what_only_looks_odd_is_kept(name: str, one: list[float], two: list[float]) -> None:
    assert usable(pair(**{name: (one, two)})) == (("x", name), {})


def test_text_and_what_not_all_have_are_left_out() -> None:
    one = table("one", {"x": noise(), "note": [np.nan] * N}, mixed(), {"note": "one.csv: line 2: text"})
    two = table("two", {"note": [np.nan] * N, "x": noise(), "more": noise()}, mixed())
    features, left_out = usable([one, two])
    assert features == ("x",)
    assert left_out.keys() == {"note", "more"}
    assert_tells(left_out["note"], "line 2", "not a number")
    assert_tells(left_out["more"], "1 of 2 devices", "one")


def test_a_column_most_of_whose_cells_are_no_numbers_is_left_out_with_the_first(tmp_path: Path) -> None:
    rows = [f"{i},{i if i % 3 == 0 else 'ok'},{'oops' if i == 5 else i}" for i in range(60)]
    (tmp_path / "a.csv").write_text("x,note,y\n" + "".join(f"{row}\n" for row in rows))
    found = table_of("a", CsvSource(tmp_path / "a.csv").read())
    assert_tells(found.faults["note"].text, f"{tmp_path}/a.csv: line 3, column 'note': ")
    assert found.faults.keys() == {"note"}


def test_classes_come_from_the_data_with_their_counts_numbers_in_their_order() -> None:
    tables = [
        table("one", {"x": noise()}, mixed(["10", "9", ""])),
        table("two", {"x": noise()}, mixed(["9"])),
    ]  # type: ignore[arg-type]
    found = propose(tables, Wish(label="label"))
    assert found.classes == ("9", "10")
    assert found.counts == {"9": 80, "10": 20}
    assert found.missing == "fill"  # of a row in three the label is missing
    assert found.model()["classes"] == ("9", "10")


def test_spellings_of_one_class_are_asked_about() -> None:
    tables = [table("one", {"x": noise()}, mixed(["On", "off"])), table("two", {"x": noise()}, mixed(["on"]))]  # type: ignore[arg-type]
    (hint,) = propose(tables, Wish(label="label")).hints
    assert_tells(hint, "'On' (30", "'on' (60")


def test_plan_and_holdout_follow_from_the_classes() -> None:
    def plan(one: list[str], two: list[str]) -> Proposal:
        return propose(
            [table("one", {"x": noise()}, one), table("two", {"x": noise()}, two)], Wish(label="label")
        )

    even = plan(mixed(), mixed())
    assert (even.by, even.plan.epochs, even.missing) == ("time", 5, "refuse")
    ordered = plan(["a"] * 30 + ["b"] * 30, ["a"] * 30 + ["b"] * 30)
    assert (ordered.by, ordered.plan.epochs) == ("every", 5)
    skewed = plan(["a"] * N, ["b"] * N)
    assert (skewed.by, skewed.plan.epochs) == ("time", 1)
    assert holdout_setting(0.2, even.by) == 0.2
    assert holdout_setting(0.3, ordered.by) == {"part": 0.3, "by": "every"}


def test_a_regression_has_a_target_and_a_smaller_network() -> None:
    tables = [table(name, {f"x{k}": noise() for k in range(8)} | {"y": noise()}) for name in ("one", "two")]
    found = propose(tables, Wish(target="y"))
    assert found.model() == {"features": tuple(f"x{k}" for k in range(8)), "targets": ("y",), "layers": []}
    # 120 rows: 60 weights at most; 8 units need (8 + 1) · 8 + 9 = 81
    assert found.hidden == 0


def test_what_the_caller_chooses_is_taken() -> None:
    tables = pair(n=(COUNTER, COUNTER))
    wish = Wish(label="label", features=("n",), missing="drop", by="random", holdout=0.5, rounds=3)
    found = propose(tables, wish)
    assert (found.features, found.missing, found.by, found.holdout, found.rounds) == (
        ("n",),
        "drop",
        "random",
        0.5,
        3,
    )
    assert found.left_out.keys() == {"x"}


@pytest.mark.parametrize(
    ("wish", "code", "message"),
    [
        (Wish(), 64, "--label COLUMN.*--regression COLUMN.*label"),
        (Wish(label="label", target="x"), 64, "--label COLUMN.*--regression COLUMN"),
        (Wish(label="lable"), 65, "'lable'.*'label'"),
        (Wish(target="z"), 65, "'z'.*x"),
        (Wish(label="label", series="run"), 65, "'run'"),
        (Wish(label="label", features=("x", "y")), 65, "--features: 'y'"),
        (Wish(label="label", features=("label",)), 65, "'label'"),
    ],
)
def test_a_wish_that_cannot_be_is_told(wish: Wish, code: int, message: str) -> None:
    with pytest.raises(FedgeError) as raised:
        propose(pair(), wish)
    assert raised.value.exit_code == code
    assert re.search(message, str(raised.value))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"] * N, "'label'.*'a'.*120 rows"),
        ([""] * N, "'label' .*empty"),
        ([f"{k / 7:.3f}" for k in range(N)], " 60 .*120 rows"),
    ],
)
def test_labels_that_teach_nothing_are_told(labels: list[str], message: str) -> None:
    tables = [table(name, {"x": noise()}, labels) for name in ("one", "two")]
    with pytest.raises(FedgeError) as raised:
        propose(tables, Wish(label="label"))
    assert raised.value.exit_code == os.EX_DATAERR
    assert re.search(message, str(raised.value))


@pytest.mark.parametrize(
    ("y", "faults", "message"),
    [
        ([5.0] * N, {}, "'y'.* 5 "),
        ([np.nan] * N, {}, "'y'.*empty"),
        ([np.nan] * N, {"y": "one.csv: line 2, column 'y': not a number"}, "--label y"),
    ],
)
def test_a_target_that_teaches_nothing_is_told(y: list[float], faults: dict[str, str], message: str) -> None:
    tables = [table(name, {"x": noise(), "y": y}, faults=faults) for name in ("one", "two")]
    with pytest.raises(FedgeError, match=message):
        propose(tables, Wish(target="y"))


def test_no_column_to_learn_from_is_told_with_all_reasons() -> None:
    tables = [table(name, {"n": COUNTER, "flat": [1.0] * N}, mixed()) for name in ("one", "two")]
    with pytest.raises(FedgeError, match=r"'n' .*'flat' .*--features"):
        propose(tables, Wish(label="label"))


def test_a_time_is_known_by_its_name_with_a_unit_too() -> None:
    clock = [float(k // 3) for k in range(N)]
    tables = [table(name, {"Time (s)": clock, "x": noise()}, mixed()) for name in ("one", "two")]
    features, left_out = usable(tables)
    assert (features, list(left_out)) == (("x",), ["Time (s)"])
    assert_tells(left_out["Time (s)"], "time")


def test_a_device_that_lacks_the_others_columns_is_named_where_nothing_is_left_to_learn_from() -> None:
    tables = [table(name, {"x": noise(), "y": noise()}, mixed()) for name in ("one", "two")]
    tables.append(table("odd", {"acc_x": noise(), "acc_y": noise()}, mixed()))
    with pytest.raises(DataError) as raised:
        propose(tables, Wish(label="label"))
    text = str(raised.value)
    assert_tells(text, "'x'", "2 of 3 devices", "odd", "'y'", "2 of 3")
    assert_tells(text, "'acc_x'", "1 of 3 devices", "one, two")
