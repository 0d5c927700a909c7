"""`fedge evaluate`: an exported model, and a file whose answers are known."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

from fedge.algorithms.codecs import float32
from fedge.export.metadata import Origin
from fedge.export.onnx_file import to_onnx
from fedge.wire.messages.task import Task
from fleet.cli.commands import app
from tests.agent.test_predict import CLASSIFIER, LINE, REGRESSION, STEP
from tests.wording import assert_tells

ORIGIN = Origin("greenhouse", generation=2, round=7, model="ab" * 32)


def evaluate(folder: Path, content: str, *options: str, task: Task = CLASSIFIER) -> Result:
    model = STEP if task is CLASSIFIER else LINE
    weights = float32.decode(model.body, task.network.schema.size)
    (folder / "model.onnx").write_bytes(to_onnx(task, weights, ORIGIN))
    (folder / "data.csv").write_text(content)
    return run(folder / "model.onnx", folder / "data.csv", *options)


def run(model: Path, data: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", str(model), str(data), *options])


def test_columns_are_found_by_the_names_in_the_model(tmp_path: Path) -> None:
    found = evaluate(
        tmp_path, "note,v,state,u\na,0,run,12\nb,0,run,8\nc,0,walk,7\n", "--label", "state", "--json"
    )
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert (told["federation"], told["generation"], told["round"]) == ("greenhouse", 2, 7)
    assert told["rows"] == 3
    assert told["accuracy"] == pytest.approx(2 / 3)
    assert told["confusion"] == [[1, 0], [1, 1]]


def test_as_text(tmp_path: Path) -> None:
    found = evaluate(tmp_path, "u,v,label\n12,0,run\n8,0,run\n")
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith(
        "greenhouse, the model of round 2.7: accuracy 0.500 on 2 rows; always answering 'run' has 1.000\n"
    )


def test_a_regression(tmp_path: Path) -> None:
    found = evaluate(tmp_path, "u,v,speed\n1,2,158\n0,0,101\n", "--json", task=REGRESSION)
    (speed,) = json.loads(found.stdout)["targets"]
    assert speed["rmse"] == pytest.approx(12.5**0.5)
    assert speed["rmse_mean"] == pytest.approx(28.5)


def test_rows_with_gaps_are_the_models_matter_and_are_counted(tmp_path: Path) -> None:
    content = "u,v,label\n12,0,run\n,0,walk\n8,0,\n"
    told = json.loads(evaluate(tmp_path, content, "--json").stdout)
    assert (told["rows"], told["gaps"], told["unlabelled"]) == (2, 1, 1)
    # Whether this graph fills gaps or not, the row counts: as right where it does, else as wrong.
    assert told["accuracy"] == 1 - told["unanswered"] / 2
    assert (
        "rows with a missing value, given to the model as they are: 1\n" in evaluate(tmp_path, content).stdout
    )


def test_what_cannot_be_evaluated_is_explained(tmp_path: Path) -> None:
    for content, options, told in (
        ("u,w,label\n1,2,run\n", (), "there is no column 'v' (1 of the task's 2 features are missing)"),
        ("u,v,state\n1,2,run\n", (), "there is no column 'label' with each row's class; say which it is by"),
        ("u,v,state\n1,2,run\n", ("--label", "stat"), "there is no column 'stat' with each row's class"),
        ("u,v,label\n1,2,run\n1,2,fly\n", (), "line 3: column 'label' names none of the task's classes"),
        ("", (), "data.csv: is empty"),
    ):
        found = evaluate(tmp_path, content, *options)
        assert found.exit_code == os.EX_DATAERR, content
        assert told in found.stderr
        assert found.stdout == ""


def test_files_that_are_no_exported_model_are_named(tmp_path: Path) -> None:
    evaluate(tmp_path, "u,v,label\n1,2,run\n")
    whole = (tmp_path / "model.onnx").read_bytes()
    found = run(tmp_path / "none.onnx", tmp_path / "data.csv")
    assert (found.exit_code, "none.onnx: cannot be read" in found.stderr) == (os.EX_DATAERR, True)
    (tmp_path / "text.onnx").write_text("hello")
    found = run(tmp_path / "text.onnx", tmp_path / "data.csv")
    assert (found.exit_code, "is no model that onnxruntime can compute" in found.stderr) == (65, True)

    bare = onnx.load_model_from_string(whole)
    del bare.metadata_props[:]
    (tmp_path / "bare.onnx").write_bytes(bare.SerializeToString())
    found = run(tmp_path / "bare.onnx", tmp_path / "data.csv")
    assert (found.exit_code, "its metadata do not name features" in found.stderr) == (65, True)

    for classes, told in ((["a", "b", "c"], "name 3 outputs"), ("ab", "do not name"), (7, "do not name")):
        other = onnx.load_model_from_string(whole)
        for entry in other.metadata_props:
            if entry.key == "classes":
                entry.value = json.dumps(classes)
        (tmp_path / "other.onnx").write_bytes(other.SerializeToString())
        found = run(tmp_path / "other.onnx", tmp_path / "data.csv")
        assert (found.exit_code, told in found.stderr) == (65, True), (classes, found.output)


def test_an_archive_without_names_has_the_columns_in_the_models_order(tmp_path: Path) -> None:
    evaluate(tmp_path, "u,v,label\n1,2,run\n")
    np.savez(tmp_path / "data.npz", X=[[12, 0], [8, 0]], y=["run", "walk"])
    found = run(tmp_path / "model.onnx", tmp_path / "data.npz", "--json")
    assert json.loads(found.stdout)["accuracy"] == 1


def counted(folder: Path, first: int, last: int) -> Path:
    """An archive whose class codes run from `first` to `last`; the row is of class 1 where u is above 9."""
    evaluate(folder, "u,v,label\n1,2,run\n")
    codes = [first, last] * 15
    np.savez(folder / "data.npz", X=[[12.0 if code == last else 8.0, 0.0] for code in codes], y=codes)
    return folder / "data.npz"


def test_class_codes_from_1_are_refused_with_an_option_that_is_there(tmp_path: Path) -> None:
    data = counted(tmp_path, 1, 2)
    found = run(tmp_path / "model.onnx", data)
    assert found.exit_code == os.EX_DATAERR
    assert_tells(found.stderr, "[data] first_class = 1", "--data KEY=VALUE")
    found = run(tmp_path / "model.onnx", data, "--data", "first_class=1", "--json")
    assert json.loads(found.stdout)["accuracy"] == 1


def test_class_codes_that_may_run_from_1_are_told(tmp_path: Path) -> None:
    evaluate(tmp_path, "u,v,label\n1,2,run\n")
    np.savez(tmp_path / "data.npz", X=[[8.0, 0.0]] * 20, y=[1] * 20)
    found = run(tmp_path / "model.onnx", tmp_path / "data.npz", "--json")
    assert found.exit_code == 0
    for told in (json.loads(found.stdout)["warnings"][0], found.stderr):
        assert_tells(told, "0", "from 1", "from 0", "1 is 'run'")
    assert "--data KEY=VALUE" in found.stderr
    for first, accuracy in ((0, 0.0), (1, 1.0)):
        found = run(
            tmp_path / "model.onnx", tmp_path / "data.npz", "--json", "--data", f"first_class={first}"
        )
        document = json.loads(found.stdout)
        assert (document["accuracy"], document["warnings"], found.stderr) == (accuracy, [], "")


def test_numbers_that_mean_no_reading_are_told_and_can_be_said(tmp_path: Path) -> None:
    content = "u,v,label\n" + "12,0,run\n8,0,walk\n" * 15 + "-9999,0,run\n" * 3
    found = evaluate(tmp_path, content, "--json")
    assert_tells(found.stderr, "'u'", "-9999", "3 times")
    found = evaluate(tmp_path, content, "--json", "--data", "missing_values=[-9999]")
    assert (json.loads(found.stdout)["gaps"], found.stderr) == (3, "")


def test_a_file_is_read_as_its_owner_says(tmp_path: Path) -> None:
    content = "u;v;state\n12,5;0,125;Rennt\n8,5;0,125;walk\n"
    found = evaluate(tmp_path, content, "--label", "state", "--json", "--data", 'labels={ Rennt = "run" }')
    assert json.loads(found.stdout)["accuracy"] == 1, found.output


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("missing=drop", "missing "),
        ("gap=1", "gap "),
        ("newest=5", "newest "),
        ("first_clas=1", "'first_class'"),
        ("first_class=3", "[data] first_class: "),
    ],
)
def test_what_cannot_be_meant_is_a_wrong_call(tmp_path: Path, option: str, told: str) -> None:
    found = evaluate(tmp_path, "u,v,label\n1,2,run\n", "--data", option)
    assert (found.exit_code, told in found.stderr) == (os.EX_USAGE, True), found.output


def test_a_label_of_a_regression_is_a_wrong_call(tmp_path: Path) -> None:
    found = evaluate(tmp_path, "u,v,speed\n1,2,158\n", "--label", "speed", task=REGRESSION)
    assert (found.exit_code, "--label" in found.stderr) == (os.EX_USAGE, True), found.output
