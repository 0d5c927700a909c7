"""The export of several shared models: files for each, and which of them is the model."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from safetensors.numpy import load

from aggregator.core.choice import How
from aggregator.export import model_files
from aggregator.export.chosen_model import job_of
from aggregator.export.job import Clusters
from aggregator.export.safetensors_file import to_safetensors
from fedge.export import onnx_file
from fedge.nn import Network
from fedge.wire.freshness import RoundId
from tests.aggregator.parts.lab import DEVICES
from tests.aggregator.test_clusters import ALL_AT_ONE, MEMBERS, TWO
from tests.aggregator.test_clusters import Clusters as Lab
from tests.aggregator.test_export import CLASSIFIER, ORIGIN, raw_samples, session, weights

MODELS = tuple(weights(CLASSIFIER, seed) for seed in range(3))


def written(folder: Path, devices: tuple[int, ...], models: int = 3) -> dict[str, object]:
    clusters = Clusters(MODELS[:models], devices)
    model_files.write(folder, CLASSIFIER, MODELS[clusters.most], ORIGIN, clusters=clusters)
    found: dict[str, object] = json.loads((folder / "manifest.json").read_text())
    return found


def answers(content: bytes, X: np.ndarray) -> np.ndarray:
    made: ort.InferenceSession = session(content)
    return made.run(None, {"features": X})[0]  # type: ignore[no-any-return]


def test_each_model_has_files_of_its_own(tmp_path: Path) -> None:
    manifest = written(tmp_path, (4, 9, 9))
    X, network = raw_samples(5), Network(CLASSIFIER.network)
    for number, vector in enumerate(MODELS):
        onnx, safetensors = model_files.names_of(number)
        found = answers((tmp_path / onnx).read_bytes(), X)
        assert np.allclose(found, network.predict(vector, X), atol=1e-5)
        told = session((tmp_path / onnx).read_bytes()).get_modelmeta().custom_metadata_map
        assert told["cluster"] == str(number)
        assert (tmp_path / safetensors).read_bytes() == to_safetensors(CLASSIFIER, vector, ORIGIN)
        assert {onnx, safetensors} <= manifest["files"].keys()  # type: ignore[attr-defined]
    assert [(each["cluster"], each["devices"]) for each in manifest["clusters"]] == [  # type: ignore[attr-defined]
        (0, 4),
        (1, 9),
        (2, 9),
    ]
    assert manifest["cluster"] == 1, "most devices trained it; of equal ones the first"
    model, same = (load((tmp_path / f"{name}.safetensors").read_bytes()) for name in ("model", "cluster_1"))
    assert all(np.array_equal(model[name], same[name]) for name in model | same)


def test_files_of_models_that_are_gone_are_removed(tmp_path: Path) -> None:
    written(tmp_path, (1, 1, 1))
    (tmp_path / "cluster_of_mine.onnx").touch()
    manifest = written(tmp_path, (1, 1), models=2)
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"manifest.json", "cluster_of_mine.onnx", *manifest["files"]}  # type: ignore[misc]
    assert "cluster_2.onnx" not in there
    model_files.write(tmp_path, CLASSIFIER, MODELS[0], ORIGIN)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"manifest.json", "model.onnx", "model.safetensors", "cluster_of_mine.onnx"}
    assert "clusters" not in json.loads((tmp_path / "manifest.json").read_text())


def test_one_model_that_is_withheld_keeps_its_last_good_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, (3, 2, 1))
    good = (tmp_path / "cluster_2.onnx").read_bytes()
    true = onnx_file.to_onnx

    def other(task: object, vector: np.ndarray, *others: object) -> bytes:
        wrong = vector + 1 if vector is MODELS[2] else vector
        return true(task, wrong, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(onnx_file, "to_onnx", other)
    manifest = written(tmp_path, (3, 2, 1))
    assert (tmp_path / "cluster_2.onnx").read_bytes() == good
    digest = hashlib.sha256(good).hexdigest()
    assert manifest["files"]["cluster_2.onnx"]["sha256"] == digest  # type: ignore[index]
    said = manifest["clusters"]
    assert ["withheld" in each for each in said] == [False, False, True]  # type: ignore[attr-defined]
    assert "withheld" not in manifest, "of the model itself"


@pytest.mark.parametrize(
    ("members", "most"), [(MEMBERS, 1), ({**MEMBERS, DEVICES[1]: 0}, 0), (ALL_AT_ONE, 1)]
)
@pytest.mark.parametrize("how", ["best", "newest"])
def test_the_model_is_that_of_most_devices(
    tmp_path: Path, members: dict[str, int], most: int, how: How
) -> None:
    lab = Lab(tmp_path / "lab", TWO)
    lab.survey()
    job = job_of(lab.ledger, lab.state, RoundId(1, 0), how)
    assert job is not None
    assert job.clusters is not None
    assert (job.clusters.devices, job.clusters.most) == ((), 0)
    lab.round(members)
    lab.start(TWO)
    job = job_of(lab.ledger, lab.state, RoundId(1, 1), "newest")
    assert job is not None
    assert job.clusters is not None
    assert job.clusters.devices == tuple(list(members.values()).count(number) for number in (0, 1))
    models = lab.models(1)
    assert job.vector.tobytes() == models[most].tobytes()
    assert [vector.tobytes() for vector in job.clusters.vectors] == [model.tobytes() for model in models]
    lab.ledger.close()
