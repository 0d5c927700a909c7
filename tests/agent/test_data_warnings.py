"""Data are judged: what makes the model worse."""

from pathlib import Path

from agent.data.dataset import fit
from agent.data.inventory import take_inventory
from agent.data.inventory_texts import lines as lines_of
from agent.settings.data import DataSettings
from agent.sources import CsvSource
from tests.agent.assessments import GOOD, warnings
from tests.agent.test_dataset import WALK_RUN, classifier, from_csv
from tests.wording import assert_tells


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
