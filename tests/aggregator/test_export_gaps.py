"""The exported ONNX file answers rows with gaps as the federation's rule says, and clips as the network."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors

from aggregator.export.model_files import write
from fedge.export import onnx_file, parity
from fedge.export.metadata import FILLED, UNFILLED
from fedge.export.onnx_file import to_onnx
from fedge.nn import Network
from fedge.wire.messages.task import Task
from tests.aggregator.engines import ENGINES, MEAN, ORIGIN, SCALE, differences, onnxruntime, task, weights

ROWS = MEAN + SCALE * np.random.default_rng(4).standard_normal((40, 4), np.float32)
GAPS = ROWS.copy()
GAPS[np.random.default_rng(5).random(GAPS.shape) < 0.3] = np.nan


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("regression", [False, True], ids=["classifier", "regression"])
@pytest.mark.parametrize("clip", [None, 20.0], ids=["plain", "clipped"])
def test_engines_fill_and_clip_as_our_forward_pass_does(
    engine: str, regression: bool, clip: float | None
) -> None:
    make, module, _ = ENGINES[engine]
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    found = differences(make, task("fill", clip, regression))
    assert len(found) == (2 if clip is None else 3)
    for difference, answered, lacking in found:
        assert difference <= 1e-5
        assert (answered, lacking) == (0, 0), "each row has an answer"


@pytest.mark.parametrize("engine", ["onnxruntime", "onnx.reference"])
@pytest.mark.parametrize("rule", [None, "refuse", "drop"])
def test_without_the_rule_to_fill_a_row_with_a_gap_has_no_answer(engine: str, rule: str | None) -> None:
    found = differences(ENGINES[engine][0], task(rule, 20.0))
    assert all(difference <= 1e-5 and answered == 0 for difference, answered, _ in found)
    assert found[1][2] == 64, "each of these rows has a gap"


def test_what_fills_is_the_mean_of_the_survey() -> None:
    of = task("fill", 20.0)
    w = weights(of)
    theirs = onnxruntime(to_onnx(of, w, ORIGIN))(GAPS)
    assert np.isfinite(theirs).all()
    by_hand = np.where(np.isnan(GAPS), MEAN, GAPS)
    np.testing.assert_allclose(theirs, Network(of.network).predict(w, by_hand), atol=1e-6)


def test_the_operators_are_of_opset_17_and_only_there_where_they_are_needed() -> None:
    def operators(of: Task) -> list[str]:
        model = onnx.load_from_string(to_onnx(of, weights(of), ORIGIN))
        assert (model.ir_version, model.opset_import[0].version) == (8, 17)
        return [node.op_type for node in model.graph.node][:5]

    assert operators(task("fill", 20.0)) == ["IsNaN", "Where", "Sub", "Div", "Clip"]
    assert operators(task("drop", 20.0)) == ["Sub", "Div", "Clip", "Gemm", "Relu"]
    assert operators(task(None, None)) == ["Sub", "Div", "Gemm", "Relu", "Gemm"]


@pytest.mark.parametrize(
    ("rule", "clip", "says"),
    [("fill", 20.0, FILLED), ("fill", None, FILLED), ("drop", 20.0, UNFILLED), (None, None, UNFILLED)],
)
def test_the_files_say_what_is_done(tmp_path: Path, rule: str | None, clip: float | None, says: str) -> None:
    of = task(rule, clip)
    exported = write(tmp_path, of, weights(of), ORIGIN, samples=ROWS)
    assert exported.withheld == ""
    assert exported.max_abs_diff <= 1e-5
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["missing"], manifest.get("clip")) == (says, clip)
    assert exported.onnx is not None
    properties = {each.key: each.value for each in onnx.load_from_string(exported.onnx).metadata_props}
    assert properties.get("missing") == (says if rule == "fill" else None), "else it is as 0.2.0 wrote it"
    with safetensors.safe_open(tmp_path / "model.safetensors", "np") as file:
        first = json.loads(file.metadata()["fedge"])["network"]["layers"][0]
    assert first == {"type": "standardize", **({} if clip is None else {"clip": clip})}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (task(None, 20.0), task("fill", 20.0)),
        (task("fill", 20.0), task(None, 20.0)),
        (task("fill", None), task("fill", 20.0)),
    ],
    ids=["does not fill", "fills", "does not clip"],
)
def test_a_file_that_does_otherwise_is_withheld(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Task, right: Task
) -> None:
    """Ordinary rows do not show any of these."""
    monkeypatch.setattr(onnx_file, "to_onnx", lambda _, *rest: to_onnx(wrong, *rest))
    exported = write(tmp_path, right, weights(right), ORIGIN)
    assert exported.onnx is None
    assert "onnxruntime" in exported.withheld


def test_each_column_is_missing_in_some_row_and_far_away_in_another() -> None:
    of = task("fill", 20.0)
    ordinary, gaps, far = parity.rows_of(of.network)
    assert not np.isnan(ordinary.X).any()
    missing = np.isnan(gaps.X)
    assert (missing[:-1].sum(axis=1) == 1).all()
    assert missing.any(axis=0).all()
    assert missing[-1].all(), "and one row is missing as a whole"
    distances = (far.X - MEAN) / SCALE
    assert (distances.max(axis=0) > 20).all()
    assert (distances.min(axis=0) < -20).all()
    assert (np.abs(distances) > 20).sum() == len(distances)
