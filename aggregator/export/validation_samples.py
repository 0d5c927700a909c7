"""Real samples that exported files are compared on, where the server may have some."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedge.errors import ConfigError

MAX_ROWS = 1_024
"""The largest number of samples: more would only make each export take longer."""


def read_samples(path: Path, inputs: int) -> NDArray[np.float64]:
    """Read the array `X` of a NumPy archive: raw samples, of shape (n, inputs), at most 1,024 of them.

    They must be finite also in float32, because most networks take float32.

    Raises:
        ConfigError: the file cannot be read, or holds no such samples.
    """
    try:
        zipfile.ZipFile(path).close()  # np.load also opens files that are not archives
        with np.load(path, allow_pickle=False) as archive:
            X = archive["X"]
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror or error}") from None
    except KeyError:
        raise _refused(path, "holds no array X; write it with numpy.savez(file, X=samples)") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError):
        raise _refused(
            path, "is not a NumPy archive of numbers, or is damaged; write it with numpy.savez"
        ) from None
    if X.dtype.kind not in "fiu" or X.ndim != 2 or X.shape[1] != inputs or len(X) == 0:
        shape = f"{X.dtype} of shape {X.shape}"
        raise _refused(path, f"array X: expected numbers of shape (n, {inputs}), n ≥ 1, got {shape}")
    with np.errstate(over="ignore"):
        narrow = X[:MAX_ROWS].astype(np.float32)
    if not np.isfinite(narrow).all():
        row = int(np.flatnonzero(~np.isfinite(narrow).all(axis=1))[0])
        raise _refused(
            path, f"array X: row {row} holds a value that is not a finite float32; remove that row"
        )
    samples: NDArray[np.float64] = X[:MAX_ROWS].astype(np.float64)
    return samples


def _refused(path: Path, why: str) -> ConfigError:
    return ConfigError(f"[export] samples: {path}: {why}")
