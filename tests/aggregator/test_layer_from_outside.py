"""A convolution that nothing in the tree knows: configured, sent, trained, exported and compared."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from aggregator.aggregation.reparametrization import fold
from aggregator.config import FederationSettings
from aggregator.export.manifest import ONNX
from aggregator.export.model_files import write
from fedge.algorithms.local.descent import train
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import LAYERS, load
from fedge.errors import ConfigError
from fedge.export.metadata import Origin
from fedge.nn import Network, first_weights
from fedge.nn.spec import NetworkSpec, Standardize, UnknownLayer
from fedge.wire.capabilities import can, lacking, required, unknown_in_task
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.task import Task
from tests.wording import telling

ROOT = Path(__file__).parents[2]
EXTENSION = "examples.extend.conv1d:ENTRY"
LENGTH = 32
SETTINGS = f"""\
[federation]
name = "bells"
[model]
features = {LENGTH}
classes = ["low", "high"]
layers = [
    {{ type = "conv1d", filters = 4, width = 5 }}, {{ type = "relu" }},
    {{ type = "conv1d", filters = 6, width = 3 }}, {{ type = "relu" }},
]
"""


@pytest.fixture
def extended() -> Iterator[None]:
    entry = load(EXTENSION)
    yield
    LAYERS.remove(entry.name)


def tones(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Short tones somewhere in noise, raw samples of shape (n, 32), and which of two pitches each has."""
    rng = np.random.default_rng(seed)
    y, time = rng.integers(2, size=n), np.arange(LENGTH)
    period, start = np.where(y, 3.0, 7.0)[:, None], rng.integers(LENGTH - 12, size=n)[:, None]
    sounds = (time >= start) & (time < start + 12)
    tone = np.where(sounds, np.sin(2 * np.pi * (time / period + rng.random((n, 1)))), 0)
    return (100 + 20 * (tone + rng.normal(0, 0.2, (n, LENGTH)))).astype(np.float32), y


def configured(folder: Path) -> Task:
    path = folder / "federation.toml"
    path.write_text(SETTINGS)
    return FederationSettings.load(path, {}).task()


def surveyed(task: Task, X: np.ndarray) -> Task:
    mean, scale = X.mean(axis=0), X.std(axis=0)
    first = Standardize(mean=mean.astype("<f4").tobytes(), scale=scale.astype("<f4").tobytes(), clip=20.0)
    network = NetworkSpec(inputs=LENGTH, layers=(first, *task.network.layers), loss=task.network.loss)
    return Task.model_validate({**dict(task), "network": network})


@pytest.mark.usefixtures("extended")
def test_it_is_learnt_and_exported_as_any_other(tmp_path: Path) -> None:
    X, y = tones(1_500, seed=1)
    task = surveyed(configured(tmp_path), X)
    assert unpack(pack(task), Task) == task
    network = Network(task.network)
    assert dict(network.schema.parameters) == {
        "0.weight": (5, 4), "0.bias": (4,), "1.weight": (12, 6), "1.bias": (6,), "2.weight": (156, 2),
        "2.bias": (2,),
    }  # fmt: skip
    begun = first_weights(task.network, seed=3, generation=1)
    data = network.prepare(X), network.prepare_targets(y)
    trained = train(network, begun, *data, Plan(epochs=8, learning_rate=0.05), np.random.default_rng(0))
    held_out = tones(400, seed=2)
    before, after = (network.evaluate(w, *held_out).accuracy for w in (begun, trained.vector))
    # Of 400 fair coins 54 % and more are right in less than one case of 15; 95 % are far from chance.
    assert before is not None
    assert after is not None
    assert after > max(0.95, before)

    exported = write(tmp_path, task, trained.vector, Origin("bells", 1, 1, "ab" * 32), samples=X[:100])
    assert exported.withheld == ""
    session = ort.InferenceSession((tmp_path / ONNX).read_bytes(), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"features": held_out[0]})
    np.testing.assert_allclose(theirs, network.predict(trained.vector, held_out[0]), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("extended")
def test_a_device_must_know_it_by_its_name(tmp_path: Path) -> None:
    network = configured(tmp_path).network
    needed = required("train", None, network)
    assert "layer:conv1d" in needed
    assert lacking(needed, can()) == ()
    LAYERS.remove("conv1d")
    assert lacking(needed, can()) == ("layer:conv1d",)


@pytest.mark.usefixtures("extended")
def test_who_has_not_loaded_it_passes_it_on_and_computes_nothing(tmp_path: Path) -> None:
    sent = pack(configured(tmp_path))
    LAYERS.remove("conv1d")
    task = unpack(sent, Task)
    assert unknown_in_task(task) == ("layer:conv1d",)
    assert isinstance(task.network.layers[0], UnknownLayer)
    with pytest.raises(ValueError, match=telling("Fedge")):
        Network(task.network)


def test_who_has_not_loaded_it_cannot_configure_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=telling("layers[0]] type: ", "'conv1d'")):
        configured(tmp_path)


@pytest.mark.usefixtures("extended")
@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("width = 5", "width = 0", "width"),
        ("filters = 4", "filter = 4", "filter"),
        ("width = 3", "width = 99", ""),
    ],
)
def test_its_settings_are_checked_by_itself(tmp_path: Path, old: str, new: str, key: str) -> None:
    (tmp_path / "federation.toml").write_text(SETTINGS.replace(old, new))
    place = rf"\[model.layers\[0\]\] {key}: " if key else r"\[model\] layers: layer 2, conv1d: .*99 steps"
    with pytest.raises(ConfigError, match=place):
        FederationSettings.load(tmp_path / "federation.toml", {})


@pytest.mark.usefixtures("extended")
def test_a_model_that_cannot_take_up_another_survey_is_not_kept(tmp_path: Path) -> None:
    """A window's weights are the same for all columns, whose scales differ."""
    X, _ = tones(300, seed=4)
    plain = configured(tmp_path)
    before, after = surveyed(plain, X).network, surveyed(plain, 2 * X + 1).network
    assert fold(before, after, first_weights(before, seed=1, generation=1)) is None


def test_no_production_file_speaks_of_it() -> None:
    files = [
        path for name in ("fedge", "agent", "aggregator", "fleet") for path in (ROOT / name).rglob("*.py")
    ]
    assert len(files) > 200
    assert [path for path in files if "Conv1d" in path.read_text(encoding="utf-8")] == []
