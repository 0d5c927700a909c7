"""`--check` judges the data by the task that the device holds, and shows what is used."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from agent.cli.check import check
from agent.config import AgentSettings
from agent.data.dataset import fit
from agent.data.inventory import take_inventory
from agent.data.inventory_texts import lines as lines_of
from agent.settings.data import DataSettings
from agent.shell import model_file
from fedge.errors import ConfigError, DataError
from fedge.wire.messages.message import pack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task
from tests.agent.assessments import GOOD
from tests.agent.test_assessment import coded
from tests.agent.test_dataset import WALK_RUN, classifier, from_csv, regression
from tests.wording import assert_tells, telling


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
