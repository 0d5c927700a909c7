import errno
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import safetensors
from safetensors.numpy import load

from aggregator.export.model_files import write
from aggregator.export.safetensors_file import to_safetensors
from fedge.errors import StateError
from fedge.export import onnx_file
from fedge.export.metadata import UNFILLED, Origin
from fedge.export.onnx_file import OnnxResult, to_onnx
from fedge.nn import Network, NetworkSpec
from fedge.nn.spec import Dense, ReLU, Rescale, Sigmoid, Standardize, Tanh
from fedge.wire.messages.task import Task
from tests.wording import telling

ORIGIN = Origin("greenhouse", generation=2, round=17, model="ab" * 32)
FEATURES = ("température", "wind", "CO₂")


def constants(mean: list[float], scale: list[float]) -> dict[str, bytes]:
    return {"mean": np.array(mean, "<f4").tobytes(), "scale": np.array(scale, "<f4").tobytes()}


STANDARDIZE = Standardize(**constants([20.0, -3.0, 400.0], [5.0, 0.1, 80.0]))
RESCALE = Rescale(**constants([1e4, -0.5], [300.0, 1e-3]))
HIDDEN = (Dense(units=8), ReLU(), Dense(units=6), Tanh(), Dense(units=5), Sigmoid())


def classifier(*layers: object) -> Task:
    spec = NetworkSpec(inputs=3, layers=layers, loss="cross-entropy")
    return Task(network=spec, features=FEATURES, classes=("dry", "wet")[: spec.outputs])


def regression(*layers: object) -> Task:
    spec = NetworkSpec(inputs=3, layers=layers, loss="mse")
    return Task(network=spec, features=FEATURES, targets=("litres", "pH")[: spec.outputs])


CLASSIFIER = classifier(STANDARDIZE, *HIDDEN, Dense(units=2))
REGRESSION = regression(STANDARDIZE, *HIDDEN, Dense(units=2), RESCALE)
TASKS = {
    "classifier": CLASSIFIER,
    "softmax regression on raw features": classifier(Dense(units=2)),
    "regression": REGRESSION,
    "linear regression on raw features": regression(Dense(units=1)),
}


def weights(task: Task, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(task.network.schema.size, dtype=np.float32)


def raw_samples(n: int) -> np.ndarray:
    return STANDARDIZE.means + STANDARDIZE.scales * np.random.default_rng(9).standard_normal(
        (n, 3), np.float32
    )


def session(content: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("n", [1, 1_000])
def test_onnxruntime_computes_what_our_forward_pass_computes(tmp_path: Path, task: Task, n: int) -> None:
    w, X = weights(task), raw_samples(n)
    exported = write(tmp_path, task, w, ORIGIN, samples=X)
    assert exported.withheld == ""
    assert exported.max_abs_diff <= 1e-5
    (theirs,) = session((tmp_path / "model.onnx").read_bytes()).run(None, {"features": X})
    ours = Network(task.network).predict(w, X)
    # Float32 sums of at most 8 terms, a few layers deep: some units of 2^-23 of the largest output.
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5 * np.abs(ours).max())
    if task.classes:
        np.testing.assert_allclose(theirs.sum(axis=1), 1, rtol=1e-6)


def test_a_regression_answers_in_the_targets_own_units() -> None:
    (theirs,) = session(to_onnx(REGRESSION, weights(REGRESSION) * 0, ORIGIN)).run(
        None, {"features": raw_samples(3)}
    )
    np.testing.assert_array_equal(theirs, np.tile(RESCALE.means, (3, 1)))


@pytest.mark.parametrize(
    ("task", "output", "named"),
    [(CLASSIFIER, "probabilities", "classes"), (REGRESSION, "targets", "targets")],
    ids=["classifier", "regression"],
)
def test_the_onnx_file_says_what_it_is(task: Task, output: str, named: str) -> None:
    content = to_onnx(task, weights(task), ORIGIN)
    model = onnx.load_from_string(content)
    assert model.ir_version == 8
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    engine = session(content)
    (given,), (answer,) = engine.get_inputs(), engine.get_outputs()
    assert (given.name, given.type, given.shape) == ("features", "tensor(float)", ["batch", 3])
    assert (answer.name, answer.type, answer.shape) == (output, "tensor(float)", ["batch", 2])
    properties = engine.get_modelmeta().custom_metadata_map
    assert json.loads(properties.pop("features")) == list(FEATURES)
    assert json.loads(properties.pop(named)) == list(task.outputs)
    assert properties == {"federation": "greenhouse", "generation": "2", "round": "17", "model": "ab" * 32}


def test_safetensors_hold_the_whole_model(tmp_path: Path) -> None:
    w = weights(REGRESSION)
    write(tmp_path, REGRESSION, w, ORIGIN)
    path = tmp_path / "model.safetensors"
    tensors = load(path.read_bytes())
    for name, view in REGRESSION.network.schema.views(w).items():
        np.testing.assert_array_equal(tensors.pop(name), view)
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "standardize.mean": STANDARDIZE.means.tolist(),
        "standardize.scale": STANDARDIZE.scales.tolist(),
        "rescale.mean": RESCALE.means.tolist(),
        "rescale.scale": RESCALE.scales.tolist(),
    }
    with safetensors.safe_open(path, "np") as file:
        metadata = json.loads(file.metadata()["fedge"])
    assert (metadata["federation"], metadata["generation"], metadata["round"]) == ("greenhouse", 2, 17)
    assert (metadata["features"], metadata["targets"]) == (list(FEATURES), ["litres", "pH"])
    kinds = ["standardize", "dense", "relu", "dense", "tanh", "dense", "sigmoid", "dense", "rescale"]
    assert [layer["type"] for layer in metadata["network"]["layers"]] == kinds


def entry_of(content: bytes, round_number: int = 17) -> dict[str, object]:
    """What the manifest says of a file of generation 2."""
    digest = hashlib.sha256(content).hexdigest()
    return {"generation": 2, "round": round_number, "sha256": digest, "size": len(content)}


def test_the_manifest_names_each_file_with_its_digest(tmp_path: Path) -> None:
    exported = write(
        tmp_path, CLASSIFIER, weights(CLASSIFIER), ORIGIN, {"accuracy": 0.975, "loss": float("inf")}
    )
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(manifest["files"]) == ["model.onnx", "model.safetensors"]
    for name, entry in manifest.pop("files").items():
        content = (tmp_path / name).read_bytes()
        assert entry == entry_of(content)
    assert manifest == {
        "federation": "greenhouse",
        "generation": 2,
        "round": 17,
        "model": "ab" * 32,
        "features": list(FEATURES),
        "classes": ["dry", "wet"],
        "input": "float32",
        "missing": UNFILLED,
        "metrics": {"accuracy": 0.975, "loss": None},
        "onnx_max_abs_diff": exported.max_abs_diff,
    }
    assert exported.onnx == (tmp_path / "model.onnx").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest.json",
        "model.onnx",
        "model.safetensors",
    ]


def test_the_same_model_gives_the_same_bytes() -> None:
    w = weights(CLASSIFIER)
    assert to_onnx(CLASSIFIER, w, ORIGIN) == to_onnx(CLASSIFIER, w.copy(), ORIGIN)
    assert to_safetensors(CLASSIFIER, w, ORIGIN) == to_safetensors(CLASSIFIER, w.copy(), ORIGIN)


def assert_withheld(folder: Path, exported: OnnxResult, reason: str) -> None:
    assert exported.onnx is None
    assert reason in exported.withheld
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["withheld"] == {"model.onnx": exported.withheld}
    names = {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert set(manifest["files"]) == names, "whatever lies there is told"


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_weights_that_overflow_withhold_the_onnx_file_and_the_last_good_one_stays(
    tmp_path: Path, bad: float
) -> None:
    good = write(tmp_path, CLASSIFIER, weights(CLASSIFIER), ORIGIN).onnx
    assert good is not None
    w = weights(CLASSIFIER)
    w[-10:] = bad
    for number in (18, 19):
        exported = write(tmp_path, CLASSIFIER, w, replace(ORIGIN, round=number))
        assert_withheld(tmp_path, exported, "differs from our forward pass by nan")
        manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
        assert (manifest["round"], manifest["onnx_max_abs_diff"]) == (number, None)
        assert manifest["files"]["model.onnx"] == entry_of(good, 17), "marked with the round that it is of"
        assert manifest["files"]["model.safetensors"]["round"] == number
        assert (tmp_path / "model.onnx").read_bytes() == good
    newer = write(tmp_path, CLASSIFIER, weights(CLASSIFIER), replace(ORIGIN, round=20)).onnx
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert newer is not None
    assert manifest["files"]["model.onnx"] == entry_of(newer, 20)
    assert "withheld" not in manifest


@pytest.mark.parametrize("content", [b"", b"no model", bytes(100)])
def test_a_file_that_does_not_say_which_model_it_is_does_not_stay_beside_a_newer_one(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    w = weights(CLASSIFIER)
    w[-10:] = np.nan
    assert_withheld(tmp_path, write(tmp_path, CLASSIFIER, w, ORIGIN), "differs")
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("task", [CLASSIFIER, REGRESSION], ids=["classifier", "regression"])
def test_an_onnx_file_that_computes_something_else_is_withheld(
    tmp_path: Path, task: Task, monkeypatch
) -> None:
    w = weights(task)
    other = w.copy()
    other[-1] += 1e-3
    monkeypatch.setattr(onnx_file, "to_onnx", lambda task, _, *told: to_onnx(task, other, *told))
    exported = write(tmp_path, task, w, ORIGIN)
    assert_withheld(tmp_path, exported, "onnxruntime differs from our forward pass by")
    assert 1e-5 < exported.max_abs_diff < 1e-2


def test_a_difference_that_only_real_samples_show_is_found(tmp_path: Path, monkeypatch) -> None:
    # The second network's hidden unit is dead on all random samples and alive only far outside of them.
    task = classifier(Dense(units=1), ReLU(), Dense(units=2))
    w = np.array([1, 0, 0, -100, 0, 0, 0, 0], dtype=np.float32)
    other = w.copy()
    other[4] = 5
    monkeypatch.setattr(onnx_file, "to_onnx", lambda task, _, *told: to_onnx(task, other, *told))
    assert write(tmp_path, task, w, ORIGIN).withheld == ""
    real = np.array([[200, 0, 0]], dtype=np.float32)
    assert_withheld(tmp_path, write(tmp_path, task, w, ORIGIN, samples=real), "differs")


def test_an_engine_that_fails_withholds_the_file_and_stops_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(onnx_file, "to_onnx", lambda *_: b"no model")
    exported = write(tmp_path, CLASSIFIER, weights(CLASSIFIER), ORIGIN)
    assert np.isnan(exported.max_abs_diff)
    assert_withheld(tmp_path, exported, "InvalidProtobuf")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="nowhere"):
        write(tmp_path / "nowhere", CLASSIFIER, weights(CLASSIFIER), ORIGIN)


def fail(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_files_of_the_round_before(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path, CLASSIFIER, weights(CLASSIFIER, 1), ORIGIN)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StateError, match=telling("model.safetensors: ", os.strerror(errno.ENOSPC))):
        write(tmp_path, CLASSIFIER, weights(CLASSIFIER, 2), ORIGIN)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_old_file_that_cannot_be_removed_is_an_error_of_the_disk(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    monkeypatch.setattr(os, "unlink", fail)
    with pytest.raises(StateError, match=telling("model.onnx: ", os.strerror(errno.ENOSPC))):
        write(tmp_path, CLASSIFIER, weights(CLASSIFIER) * np.nan, ORIGIN)
