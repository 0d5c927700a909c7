#!/usr/bin/env bash
# safetensors 0.8.0, its functions for NumPy, on transposed and sliced arrays; 0.7.0 beside it.
#
# Expected: safetensors.numpy.save_file stores the array that it is given, as 0.7.0 does and as numpy.save does, or refuses
#   one that is not contiguous, as safetensors.torch does.
# What happens: 0.8.0 hands the address of the array's memory to its writer, which reads on from there in C order and notes
#   the array's shape. The transpose of a (3, 3) matrix comes back as the matrix itself, and two columns of three as the
#   first six values of the matrix. Shape, type and file are valid; no error, no warning.
# Effect: NumPy and scikit-learn make such arrays in everyday use: `.T` between the layouts (inputs, outputs) and
#   (outputs, inputs), column slices, what numpy.asfortranarray and linear algebra return. The saved model answers with
#   wrong weights. numpy.ascontiguousarray before the call helps.
# Source: https://github.com/safetensors/safetensors/issues/825, open requests 826 and 829 mend it. The docstring asks for
#   contiguous tensors, which a Fortran-ordered array is by NumPy's word for it, too;
#   https://huggingface.co/docs/safetensors/api/numpy
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cat >"$folder/round.py" <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from safetensors.numpy import load_file, save_file

now, file = version("safetensors"), sys.argv[1]
print("safetensors", now, "numpy", np.__version__)
weights = np.arange(9, dtype=np.float32).reshape(3, 3)
given = {
    "transposed": weights.T,
    "every second column": weights[:, ::2],
    "transposed, then made contiguous": np.ascontiguousarray(weights.T),
    "as it is": weights,
}
same = {}
for name, array in given.items():
    save_file({"weights": array}, file)
    found = load_file(file)["weights"]
    same[name] = np.array_equal(found, array)
    print(f"  {name}: given {array.tolist()}, found {found.tolist()}")
wanted = [now != "0.8.0", now != "0.8.0", True, True]
if list(same.values()) != wanted:
    sys.exit(f"this has changed: {same}")
PYTHON
for version in 0.7.0 0.8.0; do
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "safetensors==$version" numpy==2.2.6
    "$folder/venv/bin/python" "$folder/round.py" "$folder/model.safetensors"
done
