"""Data are judged: all that keeps the device from taking part, by column, and what would help."""

from pathlib import Path

import pytest

from agent.data.inventory import take_inventory
from agent.settings.data import DataSettings
from agent.sources import CsvSource, Samples
from agent.sources.arrays import samples_from_arrays
from fedge.wire.messages.task import Task
from tests.agent.assessments import GOOD, TASKS, kinds, problems, warnings
from tests.agent.test_dataset import WALK_RUN, classifier, from_csv, regression
from tests.wording import assert_tells


@TASKS
def test_what_is_right_is_found_right(tmp_path: Path, task: Task | None) -> None:
    samples = from_csv(tmp_path, "u,v,label\n" + GOOD)
    assert (problems(samples, task), warnings(samples, task)) == ([], [])


def test_gaps_in_rows_that_are_left_out_are_no_fault(tmp_path: Path) -> None:
    samples = from_csv(tmp_path, "u,v,label\n" + GOOD + ",1,jump\n")
    assert problems(samples, WALK_RUN, unknown_labels="drop") == []


@TASKS
def test_gaps_are_listed_by_column_with_what_would_help(tmp_path: Path, task: Task | None) -> None:
    samples = from_csv(tmp_path, "u,v,label\n" + GOOD + ",1,walk\n,,run\n3,,run\n4,5,\n")
    u, v, answer = problems(samples, task)
    for found, column, line in ((u, "u", 42), (v, "v", 43)):
        assert (found.kind, found.column, found.count) == ("missing values", column, 2)
        assert found.first == f"{tmp_path}/a.csv: line {line}"
        assert_tells(found.what, "2 of 44 rows")
        assert_tells(found.remedy or "", '[data] missing = "drop"', "40 rows", '"fill"')
    assert (answer.kind, answer.count, answer.first) == ("missing answers", 1, f"{tmp_path}/a.csv: line 45")
    assert_tells(answer.what, "1 of 44 rows", "column 'label'")
    assert_tells(answer.remedy or "", '[data] missing = "drop"', "40 rows")
    assert "fill" not in (answer.remedy or "")
    assert problems(samples, task, missing="drop") == []
    assert problems(samples, task, missing="fill") == []


@TASKS
def test_too_few_rows_are_counted_after_holding_out_and_gaps(tmp_path: Path, task: Task | None) -> None:
    samples = from_csv(tmp_path, "u,v,label\n" + GOOD)
    (found,) = problems(samples, task, holdout=0.5, gap=3)
    assert (found.kind, found.count) == ("too few rows", 17)
    assert_tells(found.what, "17 of 40 rows", "20", "0 ", "left out", "20 ", "held out", "3 ", "gaps")
    assert_tells(found.remedy or "", "[data] holdout, gap")


@TASKS
def test_who_has_hardly_any_rows_is_not_told_to_hold_out_fewer(tmp_path: Path, task: Task | None) -> None:
    samples = from_csv(tmp_path, "u,v,label\n" + "1,2,walk\n2,1,run\n" * 5)
    (found,) = problems(samples, task)
    assert (found.kind, found.count) == ("too few rows", 8)
    assert_tells(found.what, "8 of 10 rows", "20", "0 ", "left out", "2 ", "held out", "0 ", "gaps")
    assert "holdout" not in (found.remedy or "")


def test_unknown_labels_are_counted_and_their_mapping_is_written_out(tmp_path: Path) -> None:
    samples = from_csv(tmp_path, "u,v,label\n" + GOOD + "1,2,Walk\n1,2,Walk\n1,2,swim\n")
    (found,) = problems(samples, WALK_RUN)
    assert (found.kind, found.count, found.first) == ("unknown labels", 3, f"{tmp_path}/a.csv: line 42")
    assert_tells(found.what, "column 'label'", "3 rows")
    remedy = found.remedy or ""
    assert_tells(remedy, "walk, run", "'Walk' (2 rows)", "'swim' (1 rows)", "'walk' by 'Walk'")
    assert_tells(remedy, '[data] labels = { Walk = "walk" }', '[data] unknown_labels = "drop"')
    assert problems(samples, WALK_RUN, labels={"Walk": "walk", "swim": "run"}) == []
    assert problems(samples, WALK_RUN, unknown_labels="drop") == []
    assert problems(samples, None) == [], "without a task any text may be a class"
    renamed = from_csv(tmp_path, "u,v,label\n" + GOOD.replace("run", "Run"))
    assert problems(renamed, WALK_RUN)
    assert "absent classes" not in kinds(warnings(renamed, WALK_RUN)), "how they are written is the matter"
    (absent,) = warnings(renamed, WALK_RUN, unknown_labels="drop")
    assert absent.kind == "absent classes"
    assert_tells(absent.what, "run")


def test_class_codes_from_one(tmp_path: Path) -> None:
    codes = "".join(f"{i},{i},{1 + i % 3}\n" for i in range(60))
    samples = coded([1 + i % 3 for i in range(60)])
    task = classifier("fine", "cavitation", "leak")
    (found,) = problems(samples, task)
    assert found.kind == "classes from 1"
    assert_tells(found.remedy or "", "1 is 'fine'", "[data] first_class = 1")
    assert problems(samples, task, first_class=1) == []
    two = coded([1 + i % 2 for i in range(60)])
    assert problems(two, task) == []
    (doubt,) = [found for found in warnings(two, task) if found.kind == "classes from 1"]
    assert_tells(str(doubt), "1 is 'cavitation'", "[data] first_class = 1", "1 is 'fine'", "first_class = 0")
    assert "classes from 1" not in kinds(warnings(two, task, first_class=0))
    text = from_csv(tmp_path, "u,v,label\n" + codes)
    assert problems(text, classifier("1", "2", "3")) == [], "there they are names"


def coded(labels: list[int]) -> Samples:
    return samples_from_arrays("f", [[i, i % 7] for i in range(len(labels))], labels)


@pytest.mark.parametrize(
    ("cell", "said"),
    [("abc", "not a number"), ("inf", "infinite")],
    ids=["text", "infinite"],
)
@TASKS
def test_cells_that_are_no_numbers(tmp_path: Path, task: Task | None, cell: str, said: str) -> None:
    samples = from_csv(tmp_path, f"u,v,label\n{GOOD}1,{cell},walk\n")
    (found,) = problems(samples, task)
    assert (found.kind, found.column, found.count) == ("unread cells", "v", 1)
    assert_tells(found.what, "1 of 41 rows")
    assert_tells(found.first or "", f"{tmp_path}/a.csv: line 42, column 'v': ", said)
    assert_tells(found.remedy or "", '[data] missing = "drop"', "40 rows", '"fill"')
    assert problems(samples, task, missing="drop") == []
    assert problems(samples, task, missing="fill") == []


@pytest.mark.parametrize(
    ("row", "rows"),
    [("u,v,label", 40), ('1,"2,5",walk', 41), ("1,\0\0,walk", 40)],
    ids=["repeated header", "decimal comma", "NUL bytes"],
)
@TASKS
def test_what_is_read_or_left_out_is_no_problem(
    tmp_path: Path, task: Task | None, row: str, rows: int
) -> None:
    samples = from_csv(tmp_path, f"u,v,label\n{GOOD}{row}\n")
    assert (problems(samples, task), len(samples.X)) == ([], rows)
    told = [*samples.reading, *samples.notes(())]
    assert any("line 42" in text for text in told), "it is told"


def test_an_unread_cell_is_told_from_empty_ones(tmp_path: Path) -> None:
    samples = from_csv(tmp_path, "u,v,label\n" + GOOD + ",1,walk\nx,2,run\ny,2,run\n")
    (found,) = problems(samples, WALK_RUN)
    assert (found.kind, found.column, found.count) == ("unread cells", "u", 2)
    assert_tells(found.what, "3 of 43 rows", "2 of them")
    assert_tells(found.first or "", f"{tmp_path}/a.csv: line 43, column 'u': ")


def test_columns_that_no_task_may_ask_for_do_not_matter_as_yet(tmp_path: Path) -> None:
    rows = [f"{i},{i % 7},{'ok' if i % 30 else i},{i},{'walk' if i % 2 else 'run'}" for i in range(60)]
    samples = from_csv(tmp_path, "u,v,note,u,label\n" + "".join(f"{row}\n" for row in rows))
    assert problems(samples, None) == []
    assert take_inventory(samples, DataSettings(), None).used == ("v",), "note is text but for two cells"
    (found,) = warnings(samples, None)
    assert found.kind == "cannot be used"
    assert_tells(found.what, "column 'u' ", "twice")


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    samples = from_csv(tmp_path, "u,w,label\n" + "1,2,walk\n,x,Run\n3,4,\n" * 5)
    found = problems(samples, classifier("walk", "run", features=("u", "w", "wind")))
    assert len(found) == 6, found
    by_kind = {one.kind: one for one in found}
    for kind, column, count in (
        ("no such column", "wind", None),
        ("unread cells", "w", 5),
        ("missing values", "u", 5),
        ("missing answers", None, 5),
        ("unknown labels", None, 5),
    ):
        assert (by_kind[kind].column, by_kind[kind].count) == (column, count)
    assert "too few rows" in by_kind


def test_a_text_column_matters_only_to_a_task_that_asks_for_it(tmp_path: Path) -> None:
    rows = "".join(f"{i},monday,{'walk' if i % 2 else 'run'}\n" for i in range(40))
    samples = from_csv(tmp_path, "u,v,label\n" + rows)
    assert problems(samples, None) == []
    assert take_inventory(samples, DataSettings(), None).unused == ("v", "label")
    first = problems(samples, WALK_RUN)[0]
    assert first.kind == "not numbers"
    assert_tells(first.what, "line 2, column 'v': ")
    assert problems(samples, classifier("walk", "run", features=("u",))) == []


def test_a_header_that_looks_like_data(tmp_path: Path) -> None:
    samples = from_csv(tmp_path, "21.5,1,walk\n" + GOOD)
    for task in (None, WALK_RUN):
        (found,) = problems(samples, task)
        assert found.kind == "no header"
        assert_tells(found.what, "a.csv: line 1 ", "[data] columns")
    asked = CsvSource(tmp_path / "a.csv", "walk").read()
    assert problems(asked, classifier("walk", "run", features=("21.5", "1"))) == []


@pytest.mark.parametrize("task", [regression("t", features=("u",)), regression("x", features=("u",))])
def test_what_only_the_device_itself_finds_is_told_as_well(tmp_path: Path, task: Task) -> None:
    samples = from_csv(tmp_path, "u,s,label\n" + GOOD)
    assert problems(samples, task)
    assert problems(coded([1] * 40), regression("s", "t"))
    assert problems(samples, classifier("walk", "run", features=("u", "s"))) == []
