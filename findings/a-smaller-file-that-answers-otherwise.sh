#!/usr/bin/env bash
# OpenVINO 2026.4.1, on a valid ONNX graph that standardises raw features: (x - mean) / spread, one layer, Softmax.
#
# Expected: `openvino.save_model`, which writes the file that devices load, stores a model that gives the same
#   classes as the one it was given, or warns.
# What happens: by default constants are stored as float16, also those by which a raw feature is standardised. The graph has
#   become x * (1 / spread) - mean / spread by then, and for an air pressure of 101,325 Pa with a spread of 300 Pa that
#   last constant is 337.75, which float16 knows to a quarter of a spread; 1 / spread is rounded, too. No warning: 11 of 200
#   rows get another class. Read directly, or saved with compress_to_fp16=False, the graph answers right.
# Effect: graphs that standardise raw readings themselves answer wrongly where readings are large beside their spread:
#   pressure in Pa, CO2, epoch time, counters.
# Source: openvino.save_model's documentation: floating-point weights are compressed to float16 by default;
#   https://docs.openvino.ai/2024/api/ie_python_api/_autosummary/openvino.save_model.html
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 onnx==1.19.1 numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper

print("openvino", openvino.__version__, "onnx", onnx.__version__)
mean = np.array([[101_325.0, 21.0]], np.float32)  # Pa, °C
spread = np.array([[300.0, 3.0]], np.float32)
weights = np.array([[1.5, -1.5], [0.5, -0.5]], np.float32)


def constant(name, array):
    return helper.make_tensor(name, TensorProto.FLOAT, array.shape, array.tobytes(), raw=True)


graph = helper.make_graph(
    [
        helper.make_node("Sub", ["features", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "spread"], ["standardised"]),
        helper.make_node("MatMul", ["standardised", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ],
    "weather",
    [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 2])],
    [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])],
    [constant("mean", mean), constant("spread", spread), constant("weights", weights)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "model.onnx")

rows = (mean + spread * np.random.default_rng(0).normal(size=(200, 2))).astype(np.float32)
logits = ((rows.astype(np.float64) - mean) / spread) @ weights
truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def compare(what, file):
    answers = openvino.Core().compile_model(file, "CPU")(rows)[0]
    off, other = float(np.abs(answers - truth).max()), int((answers.argmax(axis=1) != truth.argmax(axis=1)).sum())
    print(f"{what}: probabilities off by up to {off:.1e}, another class for {other} of {len(rows)} rows")
    return off, other


direct = compare("model.onnx, read directly", "model.onnx")
converted = openvino.convert_model("model.onnx")
openvino.save_model(converted, "default.xml")
saved = compare("save_model(model, file)", "default.xml")
openvino.save_model(converted, "full.xml", compress_to_fp16=False)
full = compare("save_model(model, file, compress_to_fp16=False)", "full.xml")
sys.exit(0 if saved[0] > 0.01 and saved[1] > 0 and max(direct[0], full[0]) < 1e-4 and direct[1] == full[1] == 0 else 1)
PYTHON
