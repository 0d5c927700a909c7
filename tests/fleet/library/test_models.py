"""`fedge.load_model` reads what devices hold and what aggregators export; both predict the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.export import model_files
from fedge import ConfigError, Model, StateError, Task, load_model, simulate
from fedge.data.rules import Proposal
from fedge.export.metadata import Origin
from tests.fleet.library.fleets import CLASSIFIER, PLAN, REGRESSION, fleet, summed

ORIGIN = Origin("lab", 3, 7, "ab" * 32)


def learnt(task: Task = CLASSIFIER) -> Model:
    devices: Any = fleet(2) if task.classes else summed(2)
    return simulate(task, devices, plan=PLAN, rounds=1).model


def exported(model: Model, folder: Path) -> Path:
    folder.mkdir()
    model_files.write(folder, model.task, model.weights, ORIGIN)
    return folder


@pytest.mark.parametrize("task", [CLASSIFIER, REGRESSION], ids=["classifier", "regression"])
def test_each_file_gives_the_same_outputs(tmp_path: Path, task: Task) -> None:
    model, X = learnt(task), fleet(1)["pi-0"][0]
    model.save(tmp_path / "model.held")
    folder = exported(model, tmp_path / "export")
    for path in (tmp_path, tmp_path / "model.held", folder, folder / "model.safetensors"):
        read = load_model(path)
        assert read.weights.tobytes() == model.weights.tobytes()
        assert read.task.outputs == task.outputs
        np.testing.assert_array_equal(read.outputs(X), model.outputs(X))
    assert (load_model(folder).generation, load_model(folder).round) == (3, 7)
    assert load_model(tmp_path).round == model.round == 1


def test_a_model_that_a_gate_keeps_in_use_is_the_one_of_a_device(tmp_path: Path) -> None:
    model = learnt()
    model.save(tmp_path / "model.held")
    before = Model(model.task, model.weights + np.float32(1), 1, 0)
    before.save(tmp_path / "model.used")
    assert load_model(tmp_path).weights.tobytes() == before.weights.tobytes()
    assert load_model(tmp_path / "model.held").weights.tobytes() == model.weights.tobytes()


def test_classes_are_told_by_name_and_targets_in_their_units() -> None:
    X = fleet(1)["pi-0"][0]
    classifier, regression = learnt(), learnt(REGRESSION)
    assert set(classifier.predict(X)) == {"low", "high"}
    assert classifier.outputs(X).sum(axis=1) == pytest.approx(np.ones(len(X)), abs=1e-5)
    assert regression.predict(X).shape == (len(X), 1)


def test_a_missing_value_counts_as_the_mean_where_the_federation_fills(tmp_path: Path) -> None:
    model, gap = learnt(), np.array([[np.nan, 0.5], [0.1, 0.5]])
    assert model.predict(gap)[0] == ""
    assert model.predict(gap)[1] != ""
    filling = model.task.model_copy(update={"rules": Proposal(missing="fill")})
    filled = Model(filling, model.weights, 1, 1)
    means = model.task.network.layers[0].exact_means  # type: ignore[union-attr]
    whole = np.where(np.isnan(gap), means, gap)
    np.testing.assert_array_equal(filled.outputs(gap), filled.outputs(whole))
    read = load_model(exported(filled, tmp_path / "export"))
    np.testing.assert_array_equal(read.outputs(gap), filled.outputs(whole))


def test_inputs_of_another_shape_are_refused() -> None:
    for X in (np.zeros((3, 5)), np.zeros(2)):
        with pytest.raises(ValueError, match="shape"):
            learnt().predict(X)


def test_what_is_not_there_or_for_others_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.held", tmp_path / "none.safetensors"):
        with pytest.raises(StateError):
            load_model(path)
    folder = exported(learnt(), tmp_path / "export")
    with pytest.raises(ConfigError):
        load_model(folder / "model.onnx")


@pytest.mark.parametrize("manifest", [True, False], ids=["with its manifest", "alone"])
@pytest.mark.parametrize("damage", ["cut", "header", "empty", "length", "no metadata", "offsets", "depth"])
def test_a_damaged_export_is_an_error_of_the_state(tmp_path: Path, damage: str, manifest: bool) -> None:
    folder = exported(learnt(), tmp_path / "export")
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])

    def written(changed: dict[str, Any]) -> bytes:
        text = json.dumps(changed).encode()
        return len(text).to_bytes(8, "little") + text + content[8 + length :]

    name = next(name for name in header if name != "__metadata__")
    bad = {
        "cut": content[:-4],
        "header": content[:20] + b"\xff" + content[21:],
        "empty": b"",
        "length": b"\xff" * 8 + content[8:],
        "no metadata": written({key: said for key, said in header.items() if key != "__metadata__"}),
        "offsets": written({**header, name: {**header[name], "data_offsets": [0, 10**9]}}),
        "depth": (200_000).to_bytes(8, "little") + b"[" * 200_000,
    }
    path.write_bytes(bad[damage])
    if not manifest:
        (folder / "manifest.json").unlink()
    with pytest.raises(StateError):
        load_model(folder)


def test_weights_of_another_type_are_no_model_of_ours(tmp_path: Path) -> None:
    folder = exported(learnt(), tmp_path / "export")
    (folder / "manifest.json").unlink()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"I32"'))
    with pytest.raises(StateError):
        load_model(folder)


def test_a_flipped_bit_in_the_weights_shows_beside_their_manifest(tmp_path: Path) -> None:
    folder = exported(learnt(), tmp_path / "export")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-2] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(content))
    with pytest.raises(StateError):
        load_model(folder)


def test_a_damaged_held_model_is_an_error_of_the_state(tmp_path: Path) -> None:
    learnt().save(tmp_path / "model.held")
    content = bytearray((tmp_path / "model.held").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model.held").write_bytes(bytes(content))
    with pytest.raises(StateError):
        load_model(tmp_path)
