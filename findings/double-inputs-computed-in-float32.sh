#!/usr/bin/env bash
# OpenVINO 2026.4.1, on a valid ONNX graph whose input is double: subtract an offset in double, divide, cast to float.
#
# Expected: where the compiled model declares its input as double and accepts float64 arrays, it computes in double
#   as the graph says, or refuses.
# What happens: the CPU device computes in float32, the input included. The time of day in epoch seconds, less the offset
#   1.7e9, comes out in steps of 128 s: 0, 20, 40 and 60 s after the offset are all "0", 80 and 100 s are "128". The input is
#   declared as double64 all the same, no warning comes, the hint for accuracy changes nothing, and float64 cannot be asked
#   for. ONNX Runtime, which runs beside it, answers right.
# Effect: a graph that subtracts a large offset in double, so that users may pass raw timestamps, counters or pressures
#   in Pa, loses all that is finer than float32's spacing, on the device only.
# Source: the CPU device's documentation lists no FP64 among the precisions that it supports;
#   https://docs.openvino.ai/2024/openvino-workflow/running-inference/inference-devices-and-modes/cpu-device.html,
#   and https://github.com/openvinotoolkit/openvino/issues/35822 has the same of another operator.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    openvino==2026.4.1 onnxruntime==1.23.2 onnx==1.19.1 numpy==2.2.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

print("openvino", openvino.__version__, "onnxruntime", onnxruntime.__version__)
OFFSET = 1_700_000_000.0
graph = helper.make_graph(
    [
        helper.make_node("Sub", ["time", "offset"], ["since"]),
        helper.make_node("Div", ["since", "minute"], ["minutes"]),
        helper.make_node("Cast", ["minutes"], ["output"], to=TensorProto.FLOAT),
    ],
    "clock",
    [helper.make_tensor_value_info("time", TensorProto.DOUBLE, ["rows", 1])],
    [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["rows", 1])],
    [numpy_helper.from_array(np.array([OFFSET]), "offset"), numpy_helper.from_array(np.array([60.0]), "minute")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "model.onnx")

seconds = np.arange(0.0, 120.0, 20.0)
rows = (OFFSET + seconds)[:, None]
right = seconds / 60.0
core = openvino.Core()
answers = {"onnxruntime": onnxruntime.InferenceSession("model.onnx").run(None, {"time": rows})[0]}
for name, hints in (("openvino", {}), ("openvino, for accuracy", {"EXECUTION_MODE_HINT": "ACCURACY"})):
    compiled = core.compile_model("model.onnx", "CPU", hints)
    print(f"{name}: its input is {compiled.input(0).element_type.get_type_name()}")
    answers[name] = compiled([rows])[0]
off = {name: float(np.abs(found[:, 0] - right).max()) for name, found in answers.items()}
for name, found in answers.items():
    print(f"{name}: minutes {found[:, 0].round(3).tolist()}, off by up to {off[name]:.3f}")
print(f"right: minutes {right.round(3).tolist()}")
wrong = [difference for name, difference in off.items() if name.startswith("openvino")]
sys.exit(0 if off["onnxruntime"] < 1e-6 and min(wrong) > 0.3 else 1)
PYTHON
