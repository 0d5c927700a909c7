"""The settings of the dialect, and what an owner is told of it."""

import json
import os
from io import StringIO
from pathlib import Path

import pytest

from agent.cli.check import check
from agent.cli.predict import predict
from agent.config import AgentSettings
from agent.sources import CsvSource
from agent.sources.form_settings import FormSettings
from agent.trainers.worker import Worker
from fedge.errors import ConfigError, DataError
from tests.agent.test_canaries import survey
from tests.agent.test_predict import CLASSIFIER, STEP, hold
from tests.wording import assert_tells, telling

# Who uses it


def settings_of(folder: Path, more: str) -> AgentSettings:
    (folder / "agent.toml").write_text(
        f'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "csv"\npath = "a.csv"\n{more}\n'
    )
    return AgentSettings.load(folder / "agent.toml", {})


def test_the_keys_of_the_dialect(tmp_path: Path) -> None:
    more = """
separator = "\\t"
decimal = ","
thousands = "."
skip = 2
comment = "//"
units_row = true
missing_values = [-9999, 85.0, "unavailable"]
time = "t"
max_bad = 0
"""
    data = settings_of(tmp_path, more).data
    assert FormSettings.of(data) == FormSettings("\t", ",", ".", 2, "//", True, ("unavailable",), "t", 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('separator = ";;"', "separator: "),
        ("separator = '\"'", "separator: "),
        ('decimal = "."\nthousands = "."', "thousands: "),
        ("missing_values = [true]", "missing_values: "),
        ("max_bad = 1", "max_bad: "),
        ("skip = -1", "skip: "),
        ('columns = ["u"]\ntime = "t"', "time: "),
    ],
)
def test_wrong_keys_are_explained(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, more)
    assert message in str(caught.value)


def test_a_prediction_reads_the_same_dialect_and_leaves_no_row_out(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(
        'federation = "watch"\ndevice = "anna"\n[data]\nsource = "csv"\npath = "none"\nmissing = "drop"\n'
        'decimal = ","\nmissing_values = [-200]\ntime = "u"\n'
    )
    loaded = AgentSettings.load(tmp_path / "agent.toml", {})
    hold(tmp_path, CLASSIFIER, STEP)
    new = tmp_path / "new.csv"
    new.write_text("v;u\n0;12,000\n0;-200,0\n0;10,000\n")
    out = StringIO()
    predict(loaded, new, out, as_json=False)
    assert [line.split(",")[:2] for line in out.getvalue().splitlines()[1:]] == [["0", "run"], ["2", "walk"]]
    new.write_text("v;u\n" + "0;12,0\n" * 100 + "0\n")
    with pytest.raises(DataError, match=telling("line 102: ", "1 cells")):
        predict(loaded, new, out, as_json=False)


def test_the_agent_logs_what_it_could_not_read_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "".join(f"{i},0.{i},{'dry' if i % 2 else 'wet'}\n" for i in range(60))
    file = tmp_path / "a.csv"
    file.write_text("heat,rain,label,note\n" + rows.replace("\n", ",x\n") + "7,broken,dry,1\n\0\n")
    configured = settings_of(tmp_path, 'missing = "drop"')
    trainer = Worker(configured, {"data": CsvSource(file, "label")}, lambda _: None)
    job = survey(classes=("dry", "wet"))
    trainer.work(job)
    os.utime(file, ns=(1, 1))  # so that it is read anew, and nothing is new
    trainer.work(job)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    rows, values = told
    assert_tells(rows, "source data: 1 of 62 rows", f"{file}: line 63: ", "NUL")
    assert_tells(values, "source data: 1 of 61 values", "'rain'", f"{file}: line 62, column 'rain': ")
    with file.open("a") as stream:
        stream.write("8,broken,dry,1\n")
    trainer.work(job)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    rows, values = told[2:]
    assert_tells(rows, "source data: 1 of 63 rows")
    assert_tells(values, "source data: 2 of 62 values", "'rain'")


def test_a_check_tells_how_files_are_understood(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u;v\n" + "0,5;1\n" * 30 + "2\n")
    out = StringIO()
    check(settings_of(tmp_path, ""), out, as_json=True)
    told = json.loads(out.getvalue())["uses"]["data"]
    assert_tells(told["read_as"], "semicolon", "2 cells", "decimal commas", "column")
    assert_tells(told["unreadable"], "1 of 31 rows")
    text = StringIO()
    check(settings_of(tmp_path, ""), text, as_json=False)
    for said in ("semicolon", "1 of 31 rows"):
        assert text.getvalue().count(said) == 1, "it is told once"
