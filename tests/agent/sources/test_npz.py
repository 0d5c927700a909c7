"""NumPy archives, right and wrong. Every error names the file and what to do; never a value."""

import errno
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.sources import NpzSource, Samples
from fedge.errors import DataError
from tests.agent.sources.files import SECRET, X, texts
from tests.wording import assert_tells, telling

# npz


def npz_of(folder: Path, **content: Any) -> Samples:
    np.savez(folder / "a.npz", **content)
    return NpzSource(folder / "a.npz").read()


def test_npz_arrays(tmp_path: Path) -> None:
    X = np.arange(6.0).reshape(3, 2)
    samples = npz_of(tmp_path, X=X, y=["b", "a", "b"], series=[7, 7, 3], features=["u", "v"], other=1)
    np.testing.assert_array_equal(samples.X, X)
    assert samples.X.dtype == np.float32
    assert samples.columns == ("u", "v")
    assert samples.y is not None
    assert samples.y.tolist() == ["b", "a", "b"]
    assert samples.series.tolist() == [1, 1, 0]
    assert samples.place(2) == f"{tmp_path}/a.npz: row 2"
    bare = npz_of(tmp_path, X=X.astype(np.int8))
    assert (bare.columns, bare.y, bare.series.tolist()) == (None, None, [0, 0, 0])
    as_bytes = npz_of(tmp_path, X=X, y=np.array([b"a", b"b", b"c"]))
    assert as_bytes.y is not None
    assert as_bytes.y.tolist() == ["a", "b", "c"]
    assert npz_of(tmp_path, X=X, y=np.ones((3, 2))).y.shape == (3, 2)  # type: ignore[union-attr]


def test_npz_infinities_are_faults_of_their_columns(tmp_path: Path) -> None:
    X = np.array([[1, 2], [3, np.inf], [1e39, 0]])
    place = f"{tmp_path}/a.npz: row"
    reason = "infinite, or too large for a float32"
    assert texts(npz_of(tmp_path, X=X)) == {
        0: f"{place} 2, column 0: {reason}",
        1: f"{place} 1, column 1: {reason}",
    }
    assert texts(npz_of(tmp_path, X=X, features=["u", "v"]))[1] == f"{place} 1, column 'v': {reason}"


def test_npz_fingerprint(tmp_path: Path) -> None:
    source = NpzSource(tmp_path / "a.npz")
    with pytest.raises(DataError, match=telling("a.npz: ")):
        source.fingerprint()
    npz_of(tmp_path, X=np.ones((3, 2)))
    first = source.fingerprint()
    assert first == source.fingerprint()
    npz_of(tmp_path, X=np.ones((4, 2)))
    assert first != source.fingerprint()


OBJECTS = np.array([SECRET, None, {}, 1], dtype=object)

BROKEN_NPZ: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no X": ({"x": X, "y": [1] * 4}, ["no array X", "x, y"]),
    "nothing": ({}, ["no array X"]),
    "X of one dimension": (
        {"X": np.ones(4)},
        ["X ", "(samples, features)", "float64", "(4,)"],
    ),
    "X of images": (
        {"X": np.ones((4, 8, 8))},
        ["X ", "(samples, features)", "float64", "(4, 8, 8)"],
    ),
    "X of text": (
        {"X": np.full((4, 2), SECRET)},
        ["X ", "(samples, features)", "<U6", "(4, 2)"],
    ),
    "X of complex numbers": ({"X": X * 1j}, ["X ", "(samples, features)", "complex128"]),
    "X without rows": ({"X": np.ones((0, 2))}, ["X ", "rows", "(0, 2)"]),
    "X without columns": ({"X": np.ones((4, 0))}, ["X ", "columns", "(4, 0)"]),
    "X of objects": (
        {"X": np.array([[SECRET, None]] * 4, dtype=object)},
        ["X: ", "objects"],
    ),
    "y of objects": (
        {"X": X, "y": OBJECTS},
        ["y: ", "objects"],
    ),
    "y too short": ({"X": X, "y": [0, 1]}, ["y ", "2 rows", "X ", "4"]),
    "y of text in columns": (
        {"X": X, "y": [["a"]] * 4},
        ["y ", "(samples,)", "(samples, targets)"],
    ),
    "y a scalar": (
        {"X": X, "y": 1},
        ["y ", "(samples,)", "(samples, targets)"],
    ),
    "y not text": ({"X": X, "y": np.array([b"\xff"] * 4)}, ["y ", "UTF-8"]),
    "series too long": ({"X": X, "series": [0] * 5}, ["series ", "5 rows", "X ", "4"]),
    "series of floats": (
        {"X": X, "series": np.ones(4)},
        ["series ", "(samples,)"],
    ),
    "too few names": (
        {"X": X, "features": ["u"]},
        ["features ", "2 columns", "<U1", "(1,)"],
    ),
    "names twice": (
        {"X": X, "features": ["u", "u"]},
        ["features: ", "'u'", "twice"],
    ),
    "names as numbers": (
        {"X": X, "features": [1, 2]},
        ["features ", "2 columns", "int64"],
    ),
}


@pytest.mark.parametrize(("content", "facts"), BROKEN_NPZ.values(), ids=BROKEN_NPZ.keys())
def test_broken_npz_is_explained(tmp_path: Path, content: dict[str, Any], facts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        npz_of(tmp_path, **content)
    assert_tells(str(caught.value), f"{tmp_path}/a.npz: ", *facts)
    assert SECRET not in str(caught.value)


def _npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, X=np.random.default_rng(0).normal(size=(50, 2)))
    return buffer.getvalue()


def _single_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, X)
    return buffer.getvalue()


def _flipped() -> bytes:
    data = bytearray(_npz_bytes())
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


def _zip_of_text() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("X.npy", "no array")
    return buffer.getvalue()


NO_ARCHIVE = ["NumPy archive", "numpy.savez"]


@pytest.mark.parametrize(
    ("make", "facts"),
    [
        (bytes, NO_ARCHIVE),
        (lambda: _npz_bytes()[:-30], NO_ARCHIVE),
        (lambda: b"x,y\n1,2\n", NO_ARCHIVE),
        (_single_array, NO_ARCHIVE),
        (_flipped, NO_ARCHIVE),
        (_zip_of_text, ["X ", "(samples, features)"]),
    ],
    ids=["empty", "truncated", "csv", "npy", "bit-flip", "zip-of-text"],
)
def test_damaged_archives_are_explained(tmp_path: Path, make: Callable[[], bytes], facts: list[str]) -> None:
    (tmp_path / "a.npz").write_bytes(make())
    with pytest.raises(DataError) as caught:
        NpzSource(tmp_path / "a.npz").read()
    assert_tells(str(caught.value), f"{tmp_path}/a.npz: ", *facts)


def test_npz_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=telling(f"{tmp_path}/no: ")):
        NpzSource(tmp_path / "no").read()
    with pytest.raises(DataError, match=telling(f"{tmp_path}: ", os.strerror(errno.EISDIR))):
        NpzSource(tmp_path).read()
