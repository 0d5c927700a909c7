#!/usr/bin/env bash
# Pint 0.25.3 with NumPy 2.4.6.
#
# Expected: an array made of one metre and one kilometre is refused, or contains 1 and 1000.
# What happens: numpy.asarray gives [1.0, 1.0]. Pint warns ("The unit of the quantity is stripped"), once for each place
#   in the code, and services that do not show Python's warnings show nothing.
# Effect: in a program that converts measurements with numpy.asarray, as most do, degrees Fahrenheit and Celsius, or
#   metres and kilometres, are mixed, and the model learns from the mixture.
# Source: https://pint.readthedocs.io/en/stable/user/numpy.html
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 pint==0.25.3
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import sys
import warnings

import numpy as np
import pint

print("numpy", np.__version__, "pint", importlib.metadata.version("pint"))
units = pint.UnitRegistry()
rows = [units.Quantity(np.array([1.0]), "meter"), units.Quantity(np.array([1.0]), "kilometer")]
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("default")
    for _ in range(3):
        stacked = np.asarray(rows)
print("numpy.asarray of 1 m and 1 km:", stacked.tolist())
print(f"warnings in three conversions: {len(warned)}:", *{str(warning.message) for warning in warned})
if stacked.tolist() != [[1.0], [1.0]]:
    sys.exit("this has changed")
PYTHON
