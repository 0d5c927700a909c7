#!/usr/bin/env bash
# NumPy 2.4.6, and DuckDB 2.0.1 whose `fetchnumpy()` hands out its masked arrays.
#
# Expected: columns of a table, stacked with numpy.column_stack or saved with numpy.savez, keep which of their
#   values are missing, or an error says that they cannot.
# What happens: numpy.column_stack, concatenate, stack and vstack return a MaskedArray in which nothing is masked, and
#   numpy.array and savez a plain array; the numbers below the mask are values from then on. No warning.
#   DuckDB's NULL becomes 0.0 this way; a sensor's -999 becomes a measurement.
# Effect: whoever trains on such a table learns from 0.0 as if it were data. numpy.ma.column_stack keeps the mask.
# Source: numpy.concatenate's documentation, "the input masks are not preserved"; column_stack, stack, vstack and savez
#   say nothing. https://numpy.org/doc/stable/reference/generated/numpy.concatenate.html
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 duckdb==2.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import duckdb
import numpy as np

print("numpy", np.__version__, "duckdb", duckdb.__version__)
query = "SELECT * FROM (VALUES (1::DOUBLE, 20::DOUBLE), (NULL, 21)) AS measured (wind, heat)"
columns = duckdb.connect().execute(query).fetchnumpy()
wind, heat = columns["wind"], columns["heat"]
print("fetchnumpy: wind is", type(wind).__name__, wind, "and heat is", type(heat).__name__, heat)

lost = {}
for name in ("column_stack", "vstack", "stack", "concatenate", "array"):
    stacked = getattr(np, name)([wind, heat])
    lost[f"numpy.{name}"] = not np.ma.getmaskarray(stacked).any() and 0.0 in np.asarray(stacked)
    print(f"numpy.{name}:", type(stacked).__name__, np.asarray(stacked).tolist(), "masked:", np.ma.getmaskarray(stacked).sum())
archive = io.BytesIO()
np.savez(archive, wind=wind)
archive.seek(0)
saved = np.load(archive)["wind"]
lost["numpy.savez"] = saved.tolist() == [1.0, 0.0]
print("numpy.savez, and load again:", type(saved).__name__, saved.tolist())
kept = np.ma.column_stack([wind, heat])
print("numpy.ma.column_stack:", kept.tolist())
if not (all(lost.values()) and kept.mask.sum() == 1):
    sys.exit(f"this has changed: {lost}")
print("the mask is lost without a word by:", ", ".join(lost))
PYTHON
