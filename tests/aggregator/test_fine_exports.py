"""The exported file of a network that takes float64 says so, and engines compute what devices do."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy

from aggregator.export.model_files import write
from fedge.export import parity
from fedge.export.onnx_file import to_onnx
from fedge.nn import Network
from fedge.nn.operators import INPUT, Node, Operators
from fedge.nn.schema import Shape
from fedge.nn.spec import Dense, NetworkSpec, Standardize
from fedge.wire.messages.task import Task
from tests.aggregator.engines import ENGINES, ORIGIN, differences, onnxruntime, task, weights

MEANS, SCALES = np.array([20, -3, 1.7e9 + 13.25, 101_325.004]), np.float32([5, 0.1, 0.5, 0.01])
NARROW = MEANS.astype("<f4")
REST = (MEANS - NARROW).astype("<f4").tobytes()
ROWS = np.random.default_rng(4).normal(MEANS, SCALES, (400, 4))


def exact(rule: str | None = None, clip: float | None = 20.0, regression: bool = False) -> Task:
    """The network of the other engines' tests, with two columns that are too fine for float32."""
    of = task(rule, clip, regression)
    first = Standardize(mean=NARROW.tobytes(), scale=SCALES.tobytes(), clip=clip, rest=REST)
    network = NetworkSpec(inputs=4, layers=(first, *of.network.layers[1:]), loss=of.network.loss)
    return Task.model_validate({**dict(of), "network": network})


@pytest.mark.parametrize("engine", ["onnxruntime", "onnx.reference", "tract"])
@pytest.mark.parametrize("regression", [False, True], ids=["classifier", "regression"])
@pytest.mark.parametrize("clip", [None, 20.0], ids=["plain", "clipped"])
@pytest.mark.parametrize("rule", ["fill", "drop"])
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_engines_compute_it(engine: str, regression: bool, clip: float | None, rule: str) -> None:
    make, module, _ = ENGINES[engine]
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    found = differences(make, exact(rule, clip, regression))
    assert len(found) == (2 if clip is None else 3)
    for difference, answered, lacking in found:
        assert difference <= 1e-5
        if rule == "fill":
            assert (answered, lacking) == (0, 0), "each row has an answer"


@pytest.mark.parametrize("rule", ["fill", None])
def test_each_row_has_its_own_answer(rule: str | None) -> None:
    """In float32 the third column would have one value, and the fourth six."""
    of = exact(rule)
    w, X = weights(of), np.where(np.arange(4) < 2, MEANS, ROWS)
    theirs = onnxruntime(to_onnx(of, w, ORIGIN))(X)
    assert len(np.unique(theirs[:, 0])) > 350
    np.testing.assert_allclose(theirs, Network(of.network).predict(w, X), atol=1e-6)


def test_the_operators_before_the_first_float32() -> None:
    def operators(of: Task) -> list[str]:
        model = onnx.load_from_string(to_onnx(of, weights(of), ORIGIN))
        assert (model.ir_version, model.opset_import[0].version) == (8, 17)
        assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
        assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        return [node.op_type for node in model.graph.node][:6]

    assert operators(exact("fill")) == ["Sub", "Div", "Cast", "IsNaN", "Where", "Clip"]
    assert operators(exact("drop")) == ["Sub", "Div", "Cast", "Clip", "Gemm", "Relu"]
    assert operators(exact(None, None)) == ["Sub", "Div", "Cast", "Gemm", "Relu", "Gemm"]


def test_the_files_say_the_type_and_why(tmp_path: Path) -> None:
    of = exact()
    exported = write(tmp_path, of, weights(of), ORIGIN, samples=ROWS)
    assert (exported.withheld, exported.max_abs_diff <= 1e-5) == ("", True)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    why = (
        "float32 would keep only a few different values of co2, pressure: inputs are standardized in "
        "float64, and rounded then"
    )
    assert (manifest["input"], manifest["input_why"]) == ("float64", why)
    assert exported.onnx is not None
    properties = {each.key: each.value for each in onnx.load_from_string(exported.onnx).metadata_props}
    assert properties["input"] == f"float64: {why}"
    tensors = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(tensors["standardize.rest"], np.frombuffer(REST, "<f4"))
    with safetensors.safe_open(tmp_path / "model.safetensors", "np") as file:
        first = json.loads(file.metadata()["fedge"])["network"]["layers"][0]
    assert first == {"type": "standardize", "clip": 20.0}


def test_an_ordinary_model_is_float32(tmp_path: Path) -> None:
    of = task("fill", 20.0)
    exported = write(tmp_path, of, weights(of), ORIGIN)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["input"], "input_why" in manifest) == ("float32", False)
    assert exported.onnx is not None
    assert "input" not in {each.key for each in onnx.load_from_string(exported.onnx).metadata_props}


def test_a_file_that_narrows_first_is_withheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = exact()
    right = Standardize.operators

    def narrowing(layer: Standardize, inputs: Shape, fills: bool = False) -> Operators:
        found = right(layer, inputs, fills)
        first, *others = found.nodes
        narrow = Node("Cast", (INPUT,), "narrow", {"to": onnx.TensorProto.FLOAT})
        wide = Node("Cast", ("narrow",), "wide", {"to": onnx.TensorProto.DOUBLE})
        begun = replace(first, inputs=("wide", *first.inputs[1:]))
        return Operators((narrow, wide, begun, *others), found.constants)

    monkeypatch.setattr(Standardize, "operators", narrowing)
    exported = write(tmp_path, of, weights(of), ORIGIN)
    assert (exported.onnx, "onnxruntime" in exported.withheld) == (None, True)


def test_probes_are_float64_and_lie_where_the_columns_do() -> None:
    ordinary, gaps, far = parity.rows_of(exact().network)
    assert {ordinary.X.dtype, gaps.X.dtype, far.X.dtype} == {np.dtype(np.float64)}
    assert len(np.unique(ordinary.X[:, 2])) == len(ordinary.X)
    assert parity.rows_of(task(None, 20.0).network)[0].X.dtype == np.float32


def test_far_rows_of_the_finest_column_lie_on_both_sides_of_its_mean() -> None:
    """float32 moves its mean by 50, and they are 20,000 spreads of 0.001 away from it: by 20."""
    means, scales = np.array([1.7e9 + 50]), np.float32([1e-3])
    narrow = means.astype("<f4")
    rest = (means - narrow).astype("<f4").tobytes()
    first = Standardize(mean=narrow.tobytes(), scale=scales.tobytes(), clip=20.0, rest=rest)
    _, _, far = parity.rows_of(NetworkSpec(inputs=1, layers=(first, Dense(units=1)), loss="mse"))
    distances = (far.X - means) / scales
    assert (distances.min(), distances.max()) == pytest.approx((-20_000, 20_000), rel=1e-3)
