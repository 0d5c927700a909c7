"""What is proposed to be learnt from a file, and what is left out and why."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.sources import CsvSource, NpzSource
from fedge.errors import DataError
from fedge.nn.spec import Dense, ReLU
from fleet.trial.column_proposal import Proposal, propose
from tests.wording import assert_tells

ROWS = 60
RNG = np.random.default_rng(4)
HEAT = RNG.normal(20, 3, ROWS).round(2)
DAMP = RNG.normal(60, 9, ROWS).round(2)
STATE = np.array(["walk", "sit", "run"])[RNG.integers(0, 3, ROWS)]


def csv(path: Path, **columns: object) -> Path:
    names = list(columns)
    cells = [np.broadcast_to(np.asarray(columns[name]), ROWS).astype(str) for name in names]
    lines = [",".join(names), *(",".join(row) for row in zip(*cells, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


def of(path: Path, label: str | None = "state", regression: str | None = None) -> Proposal:
    return propose(CsvSource(path, label).read(), label, regression)


def test_numbers_are_features_and_answers_are_classes(tmp_path: Path) -> None:
    found = of(csv(tmp_path / "a.csv", heat=HEAT, damp=DAMP, state=STATE))
    assert found.features == ("heat", "damp")
    assert found.classes == ("run", "sit", "walk")
    assert (found.targets, found.left_out) == (None, ())
    assert found.layers == (Dense(units=16), ReLU())


def times() -> dict[str, NDArray[np.str_]]:
    seconds = np.arange(ROWS)
    return {
        "Time (s)": seconds[::-1].astype(str),  # by its name, in any order
        "epoch_ms": (1_700_000_000_000 + 1000 * seconds).astype(str),
        "sequence": (seconds * 7 + 3).astype(str),
        "uptime": np.cumsum(RNG.uniform(0.1, 2, ROWS)).astype(str),
        "when": np.array([f"2026-11-30 20:00:{s % 60:02d}" for s in seconds]),
    }


def test_what_would_not_help_is_left_out_with_the_reason(tmp_path: Path) -> None:
    file = csv(
        tmp_path / "a.csv",
        heat=HEAT,
        **times(),
        battery=3.3,
        empty="",
        mostly=np.where(np.arange(ROWS) % 4 == 0, "1.5", ""),
        room=np.where(HEAT > 20, "hall", "attic"),
        damp=DAMP,
        state=STATE,
        state_code=np.select([STATE == "walk", STATE == "sit"], [7, 2], 5),
    )
    found = of(file)
    assert found.features == ("heat", "damp")
    why = dict(found.left_out)
    assert_tells(why["Time (s)"], "time", "name")
    for name in ("epoch_ms", "sequence", "uptime"):
        assert_tells(why[name], "only rises")
    assert_tells(why["when"], "numbers", "line 2")
    assert why["room"] == why["when"]
    assert_tells(why["battery"], "the same")
    assert why["empty"] == "holds no value"
    assert_tells(why["mostly"], "empty", "75%")
    assert_tells(why["state_code"], "each class", "answer")


def test_what_rises_within_each_recording_is_a_time_though_it_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number, name in enumerate("ab"):
        csv(tmp_path / "data" / f"{name}.csv", heat=HEAT + number, second=np.arange(ROWS), state=STATE)
    found = propose(CsvSource(tmp_path / "data", "state").read(), "state", None)
    assert [name for name, _ in found.left_out] == ["second"]


def test_a_level_that_rises_now_and_then_stays(tmp_path: Path) -> None:
    found = of(csv(tmp_path / "a.csv", heat=HEAT, level=np.arange(ROWS) // 15, state=STATE))
    assert found.features == ("heat", "level")


def test_what_rises_nearly_always_and_falls_now_and_then_stays(tmp_path: Path) -> None:
    found = of(csv(tmp_path / "a.csv", heat=HEAT, charge=np.arange(ROWS) % 20, state=STATE))
    assert found.features == ("heat", "charge")


def test_what_tells_two_classes_apart_is_the_answer_only_if_it_is_a_code(tmp_path: Path) -> None:
    state = np.where(HEAT > 20, "on", "off")
    code, level = (HEAT > 20).astype(int), np.where(HEAT > 20, 3.3, 0.2)
    found = of(csv(tmp_path / "a.csv", heat=HEAT, code=code, level=level, state=state))
    assert found.features == ("heat", "level")


def test_a_name_of_times_or_ids_that_the_values_contradict_stays(tmp_path: Path) -> None:
    found = of(csv(tmp_path / "a.csv", time=HEAT, T=DAMP, index=HEAT / 7, state=STATE))
    assert found.features == ("time", "T", "index")


def test_ids_are_left_out_by_their_names(tmp_path: Path) -> None:
    order = RNG.permutation(ROWS)
    found = of(csv(tmp_path / "a.csv", ID=order, user_id=order % 7, heat=HEAT, state=STATE))
    assert found.left_out == (("ID", "is an id by its name"), ("user_id", "is an id by its name"))


def test_features_that_somebody_chose_are_taken(tmp_path: Path) -> None:
    samples = CsvSource(csv(tmp_path / "a.csv", n=range(ROWS), heat=HEAT, state=STATE), "state").read()
    found = propose(samples, "state", None, wanted=("n",))
    assert (found.features, found.left_out) == (("n",), (("heat", "was not asked for"),))


def test_a_regression_has_one_target_which_is_no_feature(tmp_path: Path) -> None:
    found = of(csv(tmp_path / "a.csv", heat=HEAT, damp=DAMP), label=None, regression="damp")
    assert (found.features, found.classes, found.targets) == (("heat",), None, ("damp",))


def test_rows_that_lack_a_value_are_counted(tmp_path: Path) -> None:
    heat = np.where(np.arange(ROWS) < 3, "", HEAT.astype(str))
    state = np.where(np.arange(ROWS) == 9, "", STATE)
    note = np.where(np.arange(ROWS) < 40, "", "1.5")  # of a column that is not used
    file = csv(tmp_path / "a.csv", heat=heat, damp=DAMP, note=note, state=state)
    assert of(file).incomplete == 4
    assert of(file).classes == ("run", "sit", "walk")
    assert of(file, None, "damp").incomplete == 3
    assert of(file, None, "heat").incomplete == 3


def test_columns_that_serve_another_purpose_are_named_as_that(tmp_path: Path) -> None:
    samples = CsvSource(csv(tmp_path / "a.csv", heat=HEAT, phone=DAMP, state=STATE), "state").read()
    found = propose(samples, "state", None, {"phone": "names the device"})
    assert (found.features, found.left_out) == (("heat",), (("phone", "names the device"),))


def test_an_archive_has_classes_in_y_and_columns_without_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.stack([HEAT, DAMP], 1), y=np.resize([10, 9, 1], ROWS))
    found = propose(NpzSource(tmp_path / "a.npz").read(), None, None)
    assert (found.features, found.classes) == (("x0", "x1"), ("1", "9", "10"))


def test_wider_data_get_a_wider_network(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=RNG.normal(size=(ROWS, 200)), y=np.resize([0, 1], ROWS))
    assert propose(NpzSource(tmp_path / "a.npz").read(), None, None).layers[0] == Dense(units=64)


@pytest.mark.parametrize(
    ("label", "regression", "told"),
    [
        ("stat", None, "'stat'.*'state'.*heat, room,"),
        (None, "heta", "'heta'.*heat"),
        ("heat", None, "'heat'.* 60 .* 60 rows"),
        ("code", None, "'code'.*'4'.* 60 rows"),
        (None, "room", "line 2, column 'room': .*--label room"),
        (None, "code", "'code'.* 4 "),
    ],
)
def test_what_cannot_be_learnt_is_told(
    tmp_path: Path, label: str | None, regression: str | None, told: str
) -> None:
    heat = np.arange(ROWS) % 60 + 0.5
    file = csv(tmp_path / "a.csv", heat=heat, room="hall", state=STATE, code=4)
    with pytest.raises(DataError) as caught:
        of(file, label, regression)
    assert re.search(told, str(caught.value))


def test_a_file_without_a_feature_says_what_became_of_each_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'room' .*numbers"):
        of(csv(tmp_path / "a.csv", room="hall", state=STATE))


def test_a_first_line_of_values_is_no_header(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("".join(f"{heat},{damp},sit\n" for heat, damp in zip(HEAT, DAMP, strict=True)))
    with pytest.raises(DataError, match=r"a\.csv: line 1"):
        propose(CsvSource(file).read(), None, str(DAMP[0]))
