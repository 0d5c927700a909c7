"""The held model as a file, and predicting with it."""

import csv
import errno
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cli.predict import predict
from agent.config import AgentSettings
from agent.shell import model_file
from fedge.algorithms.codecs import float32
from fedge.algorithms.registry import LAYERS, load
from fedge.errors import ConfigError, DamagedState, DataError, StateError
from fedge.nn.spec import Dense, NetworkSpec, Rescale, Standardize
from fedge.wire import encoding
from fedge.wire.messages.message import pack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task
from tests.wording import telling

LN9 = float(np.log(9))


def affine(kind: type[Any], means: list[float], scales: list[float]) -> Any:
    return kind(mean=np.float32(means).tobytes(), scale=np.float32(scales).tobytes())


CLASSIFIER = Task(
    network=NetworkSpec(
        inputs=2, layers=(affine(Standardize, [10, 0], [2, 1]), Dense(units=2)), loss="cross-entropy"
    ),
    features=("u", "v"),
    classes=("walk", "run"),
)
REGRESSION = Task(
    network=NetworkSpec(inputs=2, layers=(Dense(units=1), affine(Rescale, [100], [10])), loss="mse"),
    features=("u", "v"),
    targets=("speed",),
)


def model(*weights: float, round_: int = 7) -> Model:
    return Model(generation=2, round=round_, body=float32.encode(np.float32(weights)))


STEP = model(0, LN9, 0, 0, 0, 0)
"""Logits (0, ln 9 · (u - 10) / 2): at u = 12 the classes have 0.1 and 0.9, at u = 10 one half each."""
LINE = model(1, 2, 0.5)
"""speed = 100 + 10 · (u + 2 v + 0.5)."""


HEART = '[sources.heart]\nsource = "csv"\npath = "none"\nmissing = "fill"\n'


def settings_in(folder: Path, missing: str = "refuse") -> AgentSettings:
    (folder / "agent.toml").write_text(
        'federation = "watch"\ndevice = "anna"\n[broker]\nurl = "mqtt://127.0.0.1:1"\n'
        f'[data]\nsource = "csv"\npath = "none"\nmissing = "{missing}"\n{HEART}'
    )
    settings = AgentSettings.load(folder / "agent.toml", {})
    settings.state.folder.mkdir(exist_ok=True)
    return settings


def hold(folder: Path, task: Task, held_model: Model) -> None:
    (folder / "state").mkdir(exist_ok=True)
    model_file.save(folder / "state" / model_file.FILE, pack(task), pack(held_model))


def predicted(folder: Path, content: str, missing: str = "refuse", as_json: bool = False) -> str:
    (folder / "new.csv").write_text(content)
    out = io.StringIO()
    predict(settings_in(folder, missing), folder / "new.csv", out, as_json)
    return out.getvalue()


def test_a_model_with_a_layer_of_the_owners_is_computed(tmp_path: Path) -> None:
    """The same layer as in the model's task: as a new process, which has not met it before."""
    entry = load("examples.extend.conv1d:ENTRY")
    try:
        layers = [{"type": "conv1d", "filters": 1, "width": 2}, {"type": "dense", "units": 1}]
        network = NetworkSpec.model_validate({"inputs": 3, "layers": layers, "loss": "mse"})
        task = Task(network=network, features=("a", "b", "c"), targets=("sum",))
        hold(tmp_path, task, model(*np.ones(network.schema.size)))
    finally:
        LAYERS.remove(entry.name)
    (tmp_path / "new.csv").write_text("a,b,c\n1,2,3\n")
    table = (
        'federation = "watch"\ndevice = "anna"\n{}[broker]\nurl = "mqtt://127.0.0.1:1"\n'
        '[data]\nsource = "csv"\npath = "none"\n'
    )
    (tmp_path / "agent.toml").write_text(table.format(""))
    with pytest.raises(ConfigError):
        predict(AgentSettings.load(tmp_path / "agent.toml", {}), tmp_path / "new.csv", io.StringIO(), True)
    (tmp_path / "agent.toml").write_text(table.format('extensions = ["examples.extend.conv1d:ENTRY"]\n'))
    out = io.StringIO()
    try:
        predict(AgentSettings.load(tmp_path / "agent.toml", {}), tmp_path / "new.csv", out, True)
    finally:
        LAYERS.remove(entry.name)
    # Filters of ones with a bias of 1 give (1 + 2 + 1, 2 + 3 + 1), and the output their sum and 1.
    assert json.loads(out.getvalue())["predictions"] == [{"row": 0, "targets": {"sum": 11.0}}]


# The file


def test_held_model_comes_back(tmp_path: Path) -> None:
    path = tmp_path / model_file.FILE
    assert model_file.read(path) is None
    model_file.save(path, pack(CLASSIFIER), pack(STEP))
    assert model_file.load(path) == (CLASSIFIER, STEP)
    kept = model_file.read(path)
    assert kept is not None
    assert (kept.task, kept.model) == (pack(CLASSIFIER), pack(STEP))
    assert kept.task_digest == hashlib.sha256(pack(CLASSIFIER)).digest()
    assert kept.model_digest == hashlib.sha256(pack(STEP)).digest()
    model_file.save(path, pack(REGRESSION), pack(LINE))
    assert model_file.load(path) == (REGRESSION, LINE)
    assert [file.name for file in tmp_path.iterdir()] == [model_file.FILE]


def test_no_model_yet(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=telling(f"{model_file.FILE}: ", "agent")):
        model_file.load(tmp_path / model_file.FILE)


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / model_file.FILE
    model_file.save(path, pack(CLASSIFIER), pack(STEP))
    whole = path.read_bytes()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x01]) + whole[i + 1 :])
        with pytest.raises(DamagedState, match=telling(f"{path}: ")):
            model_file.read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 500,
        encoding.encode({"v": 1}),
        encoding.encode({"v": 2}),
        encoding.encode({"v": 1, "task": "text"}),
    ],
    ids=["empty", "nul", "no-fields", "another-layout", "text"],
)
def test_foreign_files_are_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / model_file.FILE).write_bytes(content)
    with pytest.raises(DamagedState, match=telling(model_file.FILE)):
        model_file.load(tmp_path / model_file.FILE)


def test_truncated_file_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / model_file.FILE
    model_file.save(path, pack(CLASSIFIER), pack(STEP))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedState, match=telling(model_file.FILE)):
        model_file.load(path)


def test_messages_of_the_wrong_type_are_damage(tmp_path: Path) -> None:
    model_file.save(tmp_path / model_file.FILE, pack(STEP), pack(CLASSIFIER))
    with pytest.raises(DamagedState, match=telling(model_file.FILE)):
        model_file.load(tmp_path / model_file.FILE)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=telling(f"{tmp_path}: ", os.strerror(errno.EISDIR))):
        model_file.read(tmp_path)


# Predicting


def test_classes_as_csv(tmp_path: Path) -> None:
    hold(tmp_path, CLASSIFIER, STEP)
    rows = list(csv.reader(io.StringIO(predicted(tmp_path, "v,note,u\n0,a,12\n0,b,8\n0,c,10"))))
    assert rows[0] == ["row", "class", "probability"]
    assert [row[:2] for row in rows[1:]] == [["0", "run"], ["1", "walk"], ["2", "walk"]]
    assert [float(row[2]) for row in rows[1:]] == pytest.approx([0.9, 0.9, 0.5], abs=1e-6)


def test_classes_as_json(tmp_path: Path) -> None:
    hold(tmp_path, CLASSIFIER, STEP)
    document = json.loads(predicted(tmp_path, "u,v\n12,0\n", as_json=True))
    assert (document["generation"], document["round"]) == (2, 7)
    (only,) = document["predictions"]
    assert (only["row"], only["class"]) == (0, "run")
    assert only["probabilities"] == pytest.approx({"walk": 0.1, "run": 0.9}, abs=1e-6)


class Terminal(io.StringIO):
    """What is written here, a terminal obeys."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("as_json", [False, True])
def test_a_terminal_obeys_no_name(tmp_path: Path, as_json: bool) -> None:
    run = "run\x9b2J\u202e\x1b]0;"
    hold(tmp_path, CLASSIFIER.model_copy(update={"classes": ("walk", run)}), STEP)
    (tmp_path / "new.csv").write_text("u,v\n12,0\n")
    shown, piped = Terminal(), io.StringIO()
    for out in (shown, piped):
        predict(settings_in(tmp_path), tmp_path / "new.csv", out, as_json)
    assert not set("\x9b\u202e\x1b") & set(shown.getvalue())
    if as_json:
        assert json.loads(shown.getvalue()) == json.loads(piped.getvalue())
        assert json.loads(piped.getvalue())["predictions"][0]["class"] == run
    else:
        assert r"run\x9b2J\u202e\x1b]0;" in shown.getvalue()
        assert run in piped.getvalue()


def test_targets_in_their_own_units(tmp_path: Path) -> None:
    hold(tmp_path, REGRESSION, LINE)
    assert predicted(tmp_path, "u,v\n1,2\n0,0\n") == "row,speed\n0,155.0\n1,105.0\n"
    document = json.loads(predicted(tmp_path, "u,v\n1,2\n", as_json=True))
    assert document["predictions"] == [{"row": 0, "targets": {"speed": 155.0}}]


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_what_overflows_has_no_answer(tmp_path: Path) -> None:
    hold(tmp_path, CLASSIFIER, model(1e30, LN9, -1e30, 0, 0, 0))
    content = "u,v\n12,0\n3e38,-3e38\n"
    assert predicted(tmp_path, content).splitlines()[2] == "1,,"
    first, second = json.loads(predicted(tmp_path, content, as_json=True), parse_constant=refuse)[
        "predictions"
    ]
    assert first["class"] is not None
    assert second == {"row": 1, "class": None, "probabilities": {"walk": None, "run": None}}

    hold(tmp_path, REGRESSION, model(1e30, 2, 0))
    content = "u,v\n0,2\n1e38,0\n"
    assert predicted(tmp_path, content) == "row,speed\n0,140.0\n1,\n"
    document = json.loads(predicted(tmp_path, content, as_json=True), parse_constant=refuse)
    assert [one["targets"]["speed"] for one in document["predictions"]] == [140.0, None]


def test_npz_without_labels(tmp_path: Path) -> None:
    hold(tmp_path, REGRESSION, LINE)
    np.savez(tmp_path / "new.npz", X=[[1, 2], [0, 0]])
    out = io.StringIO()
    predict(settings_in(tmp_path), tmp_path / "new.npz", out, False)
    assert out.getvalue() == "row,speed\n0,155.0\n1,105.0\n"


def test_missing_values_follow_the_rule(tmp_path: Path) -> None:
    hold(tmp_path, CLASSIFIER, STEP)
    content = "u,v\n12,0\n,0\n8,0\n"
    with pytest.raises(DataError, match=telling("new.csv: line 3: column 'u' ")):
        predicted(tmp_path, content)
    dropped = predicted(tmp_path, content, "drop").splitlines()
    assert [line.split(",")[:2] for line in dropped[1:]] == [["0", "run"], ["2", "walk"]]
    filled = predicted(tmp_path, content, "fill").splitlines()
    assert filled[2] == "1,walk,0.5", "the mean of u is 10"
    assert predicted(tmp_path, "u,v\n,0\n", "drop") == "row,class,probability\n"


def test_values_that_the_owner_excludes_are_missing(tmp_path: Path) -> None:
    hold(tmp_path, CLASSIFIER, STEP)
    content = "u,v\n12,-9999\n12,1\n99,1\n"
    more = 'drop"\nmissing_values = [-9999]\nrange = { u = [0, 50], elsewhere = [0, 1] }\n#"'
    rows = predicted(tmp_path, content, more).splitlines()
    assert [row.split(",")[0] for row in rows] == ["row", "1"]


def test_rows_of_one_column_keep_their_numbers(tmp_path: Path) -> None:
    network = NetworkSpec(inputs=1, layers=(Dense(units=1), affine(Rescale, [0], [1])), loss="mse")
    hold(tmp_path, Task(network=network, features=("u",), targets=("speed",)), model(2, 0))
    content = 'u\n1\n""\n3\n'
    assert predicted(tmp_path, content, "drop") == "row,speed\n0,2.0\n2,6.0\n"
    with pytest.raises(DataError, match=telling("new.csv: line 3: column 'u' ")):
        predicted(tmp_path, content)


def test_the_rule_is_that_of_the_source_which_the_task_names(tmp_path: Path) -> None:
    hold(tmp_path, CLASSIFIER.model_copy(update={"source": "heart"}), STEP)
    assert predicted(tmp_path, "u,v\n,0\n", "refuse").splitlines()[1] == "0,walk,0.5"
    hold(tmp_path, CLASSIFIER.model_copy(update={"source": "elsewhere"}), STEP)
    with pytest.raises(DataError, match=telling("new.csv: line 2: column 'u' ")):
        predicted(tmp_path, "u,v\n,0\n", "refuse")


def test_a_file_without_a_header_has_the_columns_of_the_configuration(tmp_path: Path) -> None:
    hold(tmp_path, CLASSIFIER, STEP)
    settings = settings_in(tmp_path)
    data = settings.data.model_copy(update={"columns": ("v", "u")})
    settings = settings.model_copy(update={"data": data})
    expected = ["row,class,probability", "0,run,0.9"]
    for content in ("0,12\n", "v,u\n0,12\n", "other,u,v\n7,12,0\n"):
        (tmp_path / "new.csv").write_text(content)
        out = io.StringIO()
        predict(settings, tmp_path / "new.csv", out, False)
        assert out.getvalue().splitlines() == expected, content


def test_wrong_files_are_explained(tmp_path: Path) -> None:
    hold(tmp_path, CLASSIFIER, STEP)
    with pytest.raises(DataError, match=telling("new.csv: ", "column 'v'", "1 of", "2 features")):
        predicted(tmp_path, "u,w\n1,2\n")
    with pytest.raises(DataError, match=telling("new.csv: line 2, column 'v': ")):
        predicted(tmp_path, "u,v\n1,x\n")
    with pytest.raises(DataError, match=telling("none.csv: ")):
        predict(settings_in(tmp_path), tmp_path / "none.csv", io.StringIO(), False)


def test_no_model_no_prediction(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=telling(model_file.FILE)):
        predicted(tmp_path, "u,v\n1,2\n")


def test_a_model_for_another_network_is_damage(tmp_path: Path) -> None:
    hold(tmp_path, CLASSIFIER, LINE)
    with pytest.raises(StateError, match=telling("12 bytes", "6 weights", "24")):
        predicted(tmp_path, "u,v\n1,2\n")


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_a_fine_column_is_exact_however_far_the_rows_of_a_file_lie_apart(tmp_path: Path, kind: str) -> None:
    """Which column is fine is for the task to say. For 100 rows of three decades float32 would do."""
    first = Standardize(mean=np.float32([1.7e9]).tobytes(), scale=np.float32([1]).tobytes(), rest=bytes(4))
    network = NetworkSpec(inputs=1, layers=(first, Dense(units=1)), loss="mse")
    hold(tmp_path, Task(network=network, features=("u",), targets=("late",)), model(1, 0))
    seconds = [*np.linspace(1e9, 2e9, 100).tolist(), np.float32(1.7e9).item() + 0.25]
    file = tmp_path / f"new.{kind}"
    if kind == "csv":
        file.write_text("u\n" + "".join(f"{u!r}\n" for u in seconds))
    else:
        np.savez(file, X=np.array(seconds)[:, None], features=["u"])
    out = io.StringIO()
    predict(settings_in(tmp_path), file, out, as_json=True)
    assert json.loads(out.getvalue())["predictions"][100]["targets"] == {"late": 0.25}
