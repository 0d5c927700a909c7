#!/usr/bin/env bash
# skl2onnx 1.20.0 (scikit-learn 1.7.2, onnxruntime 1.23.2): decision trees and forests trained with missing values.
#
# Expected: to_onnx keeps at each split where missing values go, which scikit-learn learns since 1.3 (trees) and 1.4
#   (forests) and ONNX can express (nodes_missing_value_tracks_true), or refuses such trees.
# What happens: the attribute is left at 0, so every NaN goes to the right-hand side. Rows without NaN are right, which is what
#   a test on clean rows looks at. Below, a reading that is missing belongs to class 0: scikit-learn is right for every row,
#   the graph wrong for every row with a NaN. With the same reading negated, where class 0 lies on the right-hand side,
#   the graph is right: it depends on a column's sign. No error, no warning.
# Effect: "missing" is what a sensor that fails on a device sends, so the rows for which the tree was trained with NaN are
#   those that the device answers wrongly.
# Source: https://scikit-learn.org/stable/modules/tree.html, "Missing Values Support";
#   https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleClassifier.html;
#   https://github.com/onnx/sklearn-onnx/issues/1253, closed, and pull request 1254. 1.20.0 does not have it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    skl2onnx==1.20.0 scikit-learn==1.7.2 onnxruntime==1.23.2 onnx==1.19.1 numpy==2.2.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
import onnxruntime
from onnx import helper
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

warnings.simplefilter("error")
print(*(f"{name} {version(name)}" for name in ("skl2onnx", "scikit-learn", "onnxruntime", "onnx")))
chance = np.random.default_rng(0)
heat = chance.normal(20.0, 5.0, 1000).astype(np.float32)  # °C
damp = chance.normal(50.0, 10.0, 1000).astype(np.float32)  # %
classes = (heat > 24).astype(np.int64)
missing = (classes == 0) & (chance.random(1000) < 0.3)


def wrong(graph, rows):
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    found = session.run(None, {"X": rows})[0] != classes
    return int(found[missing].sum()), int(found[~missing].sum())


def with_directions(graph, model):
    """The same graph, with the directions of missing values that the model has, node by node."""
    trees = [each.tree_ for each in getattr(model, "estimators_", [model])]
    directions = np.concatenate([tree.missing_go_to_left for tree in trees]).astype(int).tolist()
    for node in graph.graph.node:
        if node.op_type == "TreeEnsembleClassifier":
            (old,) = [each for each in node.attribute if each.name == "nodes_missing_value_tracks_true"]
            node.attribute.remove(old)
            node.attribute.append(helper.make_attribute(old.name, directions))
    return graph


found = {}
for sign in (1, -1):
    rows = np.stack([sign * heat, damp], axis=1)
    rows[missing, 0] = np.nan
    for model in (DecisionTreeClassifier(max_depth=2, random_state=0), RandomForestClassifier(10, random_state=0)):
        model.fit(rows, classes)
        graph = to_onnx(model, rows[:1], options={"zipmap": False})
        own = int((model.predict(rows) != classes).sum())
        converted, control = wrong(graph, rows), wrong(with_directions(graph, model), rows)
        name = f"{type(model).__name__}, {'heat' if sign > 0 else '-heat'}"
        print(f"{name}: scikit-learn wrong for {own} of 1000 rows; the graph for {converted[0]} of {missing.sum()} with NaN")
        print(f"    and {converted[1]} without; with the directions written into it for {control[0]} and {control[1]}")
        found[name] = (own, converted, control)
tree, negated = found["DecisionTreeClassifier, heat"], found["DecisionTreeClassifier, -heat"]
forest = found["RandomForestClassifier, heat"]
if not (
    tree == (0, (missing.sum(), 0), (0, 0))
    and negated == (0, (0, 0), (0, 0))
    and forest[1][0] > 0.5 * missing.sum()
    and forest[1][1] <= 2
):
    sys.exit(f"this has changed: {found}")
PYTHON
