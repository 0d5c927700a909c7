#!/usr/bin/env bash
# skl2onnx 1.20.0 (scikit-learn 1.7.2, onnxruntime 1.23.2): nearest neighbours with weights="distance".
#
# Expected: to_onnx of KNeighborsRegressor(weights="distance") gives a graph that weighs the neighbours by 1 / distance, or
#   refuses the option, as it does for KNNImputer(weights="distance").
# What happens: the graph answers as the one with weights="uniform" does, to 1e-6. It contains the operators for the
#   weights, but the distances arrive there with a minus sign, and a maximum with a small positive number makes all of them
#   that number: all neighbours weigh the same. No error, no warning. A row of the training data itself, which
#   scikit-learn answers with its own value, gets the mean of five. For two classes, rows get another class.
# Effect: whoever moves indoor positioning, calibration or fault detection by nearest neighbours to a device through ONNX
#   runs another model there than the one that was tested. Its answers look plausible: the correlation with the right
#   ones is above 0.99 here.
# Source: https://onnx.ai/sklearn-onnx/supported.html lists both estimators without a limit on weights. A request that
#   names the operator: https://github.com/onnx/sklearn-onnx/pull/1212
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
from skl2onnx import to_onnx
from sklearn.impute import KNNImputer
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

warnings.simplefilter("error")
print(*(f"{name} {version(name)}" for name in ("skl2onnx", "scikit-learn", "onnxruntime", "onnx")))
chance = np.random.default_rng(0)
known, rows = (chance.normal(size=(count, 2)).astype(np.float32) for count in (300, 200))
values = 10.0 * known[:, 0]
classes = (known[:, 0] + known[:, 1] > 0).astype(np.int64)


def converted(model, features):
    session = onnxruntime.InferenceSession(to_onnx(model, known[:1]).SerializeToString())
    return session.run(None, {"X": features})[0].ravel()


def apart(one, other):
    return float(np.abs(one - other).max())


uniform = KNeighborsRegressor(weights="uniform").fit(known, values)
distance = KNeighborsRegressor(weights="distance").fit(known, values)
found, right, plain = converted(distance, rows), distance.predict(rows), uniform.predict(rows)
control = apart(converted(uniform, rows), plain)
print(f"uniform, converted: off by up to {control:.1e}")
print(f"distance, converted: off by up to {apart(found, right):.2f} from scikit-learn's distance,")
print(f"    by up to {apart(found, plain):.1e} from its uniform; correlation {np.corrcoef(found, right)[0, 1]:.4f}")
own = apart(converted(distance, known), values)
print(f"rows of the training data: scikit-learn off by {apart(distance.predict(known), values):.1e}, the graph by {own:.2f}")

gaps, places = distance.kneighbors(rows.astype(np.float64))
by_hand = (values[places] / gaps).sum(axis=1) / (1 / gaps).sum(axis=1)
print(f"weighed by hand with 1 / distance: off by up to {apart(by_hand, right):.1e}")

classifier = KNeighborsClassifier(weights="distance").fit(known, classes)
other = int((converted(classifier, known) != classifier.predict(known)).sum())
print(f"classifier, rows of the training data: another class for {other} of {len(known)}")

gappy = known.copy()
gappy[::7, 0] = np.nan
try:
    to_onnx(KNNImputer(weights="distance").fit(gappy), gappy[:1])
    refused = False
except NotImplementedError as refusal:
    refused = True
    print("KNNImputer(weights='distance'):", str(refusal).split(",")[0])
same = apart(found, plain) < 1e-4 < 0.5 < apart(found, right) and own > 0.5 and other > 0
if not (same and refused and control < 1e-4 and apart(by_hand, right) < 1e-3):
    sys.exit("this has changed")
PYTHON
