"""`--check` judges the data: all that keeps the device from taking part, by column, and what would help."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from agent.cli.check import check
from agent.config import AgentSettings
from agent.data.assessment import assess
from agent.data.dataset import fit
from agent.data.finding import Finding
from agent.data.inventory import take_inventory
from agent.data.inventory_texts import lines as lines_of
from agent.data.unfit import Unfit
from agent.settings.data import DataSettings
from agent.shell import model_file
from agent.sources import CsvSource, Samples
from agent.sources.arrays import samples_from_arrays
from fedge.errors import ConfigError, DataError
from fedge.wire.messages.message import pack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task
from tests.agent.test_dataset import WALK_RUN, classifier, from_csv, regression
from tests.wording import assert_tells, telling

GOOD = "".join(f"{i},{2 * i},{'walk' if i % 2 else 'run'}\n" for i in range(40))


def problems(samples: Samples, task: Task | None, **settings: Any) -> list[Finding]:
    """What is wrong; and where a task is given the device declines just then."""
    data = DataSettings(**settings)
    found = list(assess(samples, data, task).problems)
    if task is not None:
        try:
            fit(samples, task, data)
        except Unfit:
            assert found, "the device declines, and the check is content"
        else:
            assert not found, "the check finds fault, and the device takes part"
    return found


def warnings(samples: Samples, task: Task | None, **settings: Any) -> list[Finding]:
    return list(assess(samples, DataSettings(**settings), task).warnings)


def kinds(found: list[Finding]) -> set[str]:
    return {one.kind for one in found}


TASKS = pytest.mark.parametrize("task", [WALK_RUN, None], ids=["with a task", "without"])


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


# What makes the model worse


def test_a_file_sorted_by_class_is_named_with_the_remedy(tmp_path: Path) -> None:
    rows = "".join(f"{i},0,{'walk' if i < 40 else 'run'}\n" for i in range(50))
    samples = from_csv(tmp_path, "u,v,label\n" + rows)
    for task in (WALK_RUN, None):
        first = warnings(samples, task)[0]
        assert (first.kind, first.count) == ("held-out classes", 10)
        assert_tells(first.what, "10 of the 10 ", "run: 10")
        assert_tells(first.remedy or "", '[data] holdout = { part = 0.2, by = "every" }')
    (unmeasured,) = [one for one in warnings(samples, WALK_RUN) if one.kind == "unmeasured classes"]
    assert_tells(unmeasured.what, "class walk")
    assert warnings(samples, WALK_RUN, holdout={"part": 0.2, "by": "every"}) == []
    counts = take_inventory(samples, DataSettings(), WALK_RUN).classes
    assert counts is not None
    assert [(one.name, one.training, one.held) for one in counts] == [("walk", 40, 0), ("run", 0, 10)]
    assert fit(samples, WALK_RUN, DataSettings()).held_unseen == 10


def test_a_class_that_no_row_has_is_named(tmp_path: Path) -> None:
    samples = from_csv(tmp_path, "u,v,label\n" + GOOD)
    (found,) = warnings(samples, classifier("walk", "run", "swim"))
    assert found.kind == "absent classes"
    assert_tells(found.what, "swim")


def test_series_that_are_too_short_are_counted(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("u,v,label\n1,2,walk\n1,3,walk\n")
    from_csv(tmp_path, "u,v,label\n" + GOOD)
    samples = CsvSource(tmp_path, "label").read()
    (short,) = warnings(samples, WALK_RUN)
    assert (short.kind, short.count) == ("short series", 1)
    assert_tells(short.what, "1 of 2 series")
    assert_tells(short.remedy or "", '[data] holdout = { part = 0.2, by = "series" }')
    assert_tells(lines_of(take_inventory(samples, DataSettings(), WALK_RUN))["series"], "2, ", "1 ")
    (nothing,) = warnings(samples, WALK_RUN, holdout={"part": 0.2, "by": "series"})
    assert nothing.kind == "nothing held out"
    assert_tells(nothing.what, "2 series")


def test_impossible_numbers_are_named_with_the_setting_and_stay(tmp_path: Path) -> None:
    rows = "".join(f"{20 + i % 13 / 10},{i},{'walk' if i % 2 else 'run'}\n" for i in range(60))
    samples = from_csv(tmp_path, "temp,v,label\n" + rows + "85,1,walk\n85,2,run\n")
    task = classifier("walk", "run", features=("temp", "v"))
    (found,) = warnings(samples, task)
    assert (found.kind, found.column, found.count) == ("impossible number 85", "temp", 2)
    assert found.first == f"{tmp_path}/a.csv: line 62"
    assert_tells(found.what, "85", "2", "20 … 21.2")
    assert_tells(found.remedy or "", "[data] missing_values = [85]", "[data] range = { temp = ")
    assert (fit(samples, task, DataSettings(holdout=0)).X == 85).sum() == 2


# --check


def laid_out(folder: Path, text: str, tables: str = "", task: Task | None = None) -> AgentSettings:
    (folder / "a.csv").write_text(text)
    (folder / "agent.toml").write_text(
        f'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "csv"\npath = "a.csv"\n{tables}'
    )
    if task is not None:
        (folder / "state").mkdir()
        model = Model(generation=2, round=7, body=bytes(4 * task.network.schema.size))
        model_file.save(folder / "state" / model_file.FILE, pack(task), pack(model))
    return AgentSettings.load(folder / "agent.toml", {})


def checked(settings: AgentSettings, *, as_json: bool = True) -> tuple[Any, str]:
    out, said = StringIO(), ""
    try:
        check(settings, out, as_json=as_json)
    except DataError as error:
        said = str(error)
    return (json.loads(out.getvalue()) if as_json else out.getvalue()), said


def test_the_task_that_the_device_holds_is_what_it_is_judged_by(tmp_path: Path) -> None:
    settings = laid_out(tmp_path, "u,w,label\n" + GOOD, task=WALK_RUN)
    found, said = checked(settings)
    assert_tells(found["task"], "2.7", "2 features", "2 classes")
    (problem,) = found["problems"]
    assert problem.pop("what")
    assert_tells(problem.pop("remedy"), "u, w, label")
    assert problem == {"source": "data", "kind": "no such column", "column": "v"}
    first, second = said.splitlines()
    assert_tells(first, "1 problem")
    assert_tells(second, "column 'v' ", "u, w, label")
    text, _ = checked(settings, as_json=False)
    assert "valid" not in text
    (tmp_path / "state" / model_file.FILE).write_bytes(b"damaged")
    found, said = checked(settings)
    assert "2.7" not in found["task"]
    assert_tells(found["task"], model_file.FILE)
    assert said == ""


def test_what_is_used_is_shown(tmp_path: Path) -> None:
    rows = "".join(f"{i},x,{i},{'walk' if i % 2 else 'run'}\n" for i in range(40))
    settings = laid_out(tmp_path, "u,day,v,label\n" + rows, "gap = 2\n", WALK_RUN)
    text, said = checked(settings, as_json=False)
    lines = {line[:10].strip(): line[12:] for line in text.splitlines()}
    assert said == ""
    assert lines["files"] == f"{tmp_path}/a.csv (40 rows)"
    assert_tells(lines["rows"], "40", "30", "8", "0.2", "time", "2", "0")
    assert (lines["used"], lines["not used"]) == ("u, v", "day, label")
    assert_tells(lines["classes"], "walk", "15", "4", "run", "15", "4")
    assert "now " in lines["zone"]
    assert "valid" in text.splitlines()[-1]
    uses = checked(settings)[0]["uses"]["data"]
    assert (uses["rows"], uses["training"], uses["held_out"], uses["gaps"]) == (40, 30, 8, 2)
    assert (uses["columns"], uses["unused_columns"]) == (["u", "v"], ["day", "label"])


def test_numbers_of_classes_are_shown_with_their_names(tmp_path: Path) -> None:
    settings = laid_out(tmp_path, "u\n1\n")
    data = settings.data.model_copy(update={"first_class": 1})
    found = take_inventory(coded([1 + i % 2 for i in range(40)]), data, classifier("fine", "cavitation"))
    lines = lines_of(found)
    assert_tells(lines["classes"], "1 = fine", "16", "4", "2 = cavitation", "16", "4")


def test_every_source_is_judged(tmp_path: Path) -> None:
    more = (
        '[sources.heart]\nsource = "npz"\npath = "gone.npz"\n[sources.wind]\nsource = "csv"\npath = "b.csv"\n'
    )
    (tmp_path / "b.csv").write_text("u,label\n1,\n" * 1)
    found, said = checked(laid_out(tmp_path, "u,v,label\n" + GOOD + "1,,run\n", more))
    assert {problem["source"] for problem in found["problems"]} == {"data", "heart", "wind"}
    for facts in (
        ("[data] column 'v' ", "1 of 41 rows"),
        (f"[sources.heart] {tmp_path}/gone.npz: ",),
        ("[sources.wind] ", "answer", "1 of 1 rows"),
    ):
        assert [line for line in said.splitlines() if re.search(telling(*facts), line)], said


@pytest.mark.parametrize("rule", ["drop", "fill"])
def test_rows_without_a_target_are_not_counted_as_used(rule: Any, tmp_path: Path) -> None:
    text = "u,v,t\n" + "".join(
        f"{i},{'' if i % 7 == 1 else i},{'' if i % 4 == 1 else i}\n" for i in range(60)
    )
    samples, settings, task = from_csv(tmp_path, text), DataSettings(missing=rule), regression("t")
    found, used = take_inventory(samples, settings, task), fit(samples, task, settings)
    assert (len(found.training), len(found.held)) == (len(used.X), len(used.held_X))
    assert len(found.kept) == 45 if rule == "fill" else len(found.kept) < 45


def test_notes_of_the_source_are_shown(tmp_path: Path) -> None:
    text, said = checked(laid_out(tmp_path, "u,v,label\n" + GOOD + "\0\nx,1,run\n"), as_json=False)
    place = f"{tmp_path}/a.csv: line"
    assert_tells(text, "unreadable  1 of 42 rows", f"{place} 42: NUL")
    assert "unread " not in text, "the problem says it"
    assert_tells(said, f"{place} 43, column 'u': ")
    (tmp_path / "agent.toml").unlink()
    settings = laid_out(tmp_path, "u,v,label\n" + GOOD + "x,1,run\n", 'missing = "drop"\n')
    text, said = checked(settings, as_json=False)
    assert_tells(text, "    unread  1 of 41 values", "column 'u'", f"{place} 42, column 'u'")
    assert said == ""


def test_a_zone_that_is_none_is_a_wrong_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlln")
    with pytest.raises(ConfigError, match=telling("TZ: ", "'Europe/Berlln'")):
        check(laid_out(tmp_path, "u,v,label\n" + GOOD), StringIO(), as_json=True)
