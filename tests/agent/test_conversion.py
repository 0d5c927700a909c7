"""What a function hands over: nothing is learnt that would not mean the same, what is missing stays so."""

from collections import UserList, deque
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.data.dataset import fit
from agent.settings.data import DataSettings
from agent.sources import Samples
from agent.sources.arrays import samples_from_arrays
from fedge.errors import DataError
from tests.agent.test_dataset import ALL, WALK_RUN, N, classifier, regression, unfit
from tests.wording import assert_tells, telling

NAN = np.nan


class NAType:
    """As pandas.NA: it is neither true nor false, and no number."""

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = object.__hash__


NA = NAType()


class Frame:
    """As a table of pandas with columns of several kinds: its array is one of objects."""

    def __init__(self, rows: Any, dtype: Any = object) -> None:
        self._rows, self._dtype = rows, dtype
        self.unit = "a column of this name"

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self._rows, dtype=dtype or self._dtype)


class Quantity:
    """As pint's: its array forgets the unit."""

    def __init__(self, magnitude: Any) -> None:
        self._magnitude = magnitude

    @property
    def units(self) -> str:
        return "degree_Fahrenheit"

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self._magnitude, dtype=dtype)


class AstropyQuantity(np.ndarray):
    """As astropy's: an array with a unit."""

    unit = "deg_F"


class Masked(np.ndarray):
    """As astropy's masked arrays, which are none of numpy.ma."""

    mask = True


class Tensor:
    """As one of torch: it may refuse to be an array."""

    def __init__(self, values: Any, error: BaseException | None = None) -> None:
        self._values, self._error = values, error

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self._error is not None:
            raise self._error
        return np.array(self._values, dtype=dtype or np.float32)


class Masking:
    """Its array is a masked one."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return MASKED


MASKED = np.ma.array([[1.0, -999.0], [3.0, 4.0]], mask=[[False, True], [False, False]])
EXPECTED = [[1, NAN], [3, 4]]


def read(X: Any, y: Any = None, series: Any = None) -> Samples:
    return samples_from_arrays("f", X, y, series)


@pytest.mark.parametrize(
    "X",
    [
        MASKED,
        MASKED.astype(np.int32),
        list(MASKED),
        [tuple(MASKED[0]), [3, 4]],
        [np.ma.array([1.0, -999.0], mask=[0, 1]), np.array([3, 4])],
        np.ma.column_stack([np.ma.array([1, 3]), np.ma.array([-999, 4], mask=[True, False])]),
        np.ma.array([[1, None], [3, 4]], dtype=object, mask=[[False, False], [False, False]]),
        np.ma.array([[1, "x"], [3, 4]], dtype=object, mask=[[False, True], [False, False]]),
        Masking(),
        [[1.0, None], [3.0, 4.0]],
        [[1, np.ma.masked], [3, 4]],
        [[1, NA], [3, 4]],
        [[Decimal("1"), Decimal("nan")], [Fraction(3), np.float32(4)]],
        np.array([[1, NAN], [3, 4]], dtype=object),
        np.array([[1, NA], [True + 2, np.int8(4)]], dtype=object),
        Frame([[1, NA], [3.0, 4]]),
        Frame([[1, NAN], [3, 4]], np.float64),
        Tensor([[1, NAN], [3, 4]]),
        np.array([[1, NAN], [3, 4]], dtype=np.float16),
        np.array([[1, NAN], [3, 4]]).view(np.matrix),
        deque([[1, NAN], [3, 4]]),
        UserList([[1, None], [3, 4]]),
        (np.array([1, NAN]), [3, 4]),
        [np.ma.array([1, -999], mask=[0, 1]), [3, 4]],
        [[1, np.ma.masked], np.ma.array([3, 4])],
    ],
    ids=lambda X: type(X).__name__,
)
def test_missing_features_are_nan(X: Any) -> None:
    found = read(X).X
    assert type(found) is np.ndarray
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32(EXPECTED))


def test_plain_arrays_are_as_they_were() -> None:
    for X in (
        [[1, 2], [3, 4]],
        [[True, False], [False, True]],
        np.ones((2, 2), np.uint8),
        [range(2), range(2)],
    ):
        np.testing.assert_array_equal(read(X).X, np.asarray(X, np.float32))
    np.testing.assert_array_equal(read(np.ma.array([[1.0, 2.0]])).X, [[1, 2]])
    assert np.isinf(read([[10**400, 1.0]]).X[0, 0]), "told as infinite"
    assert read([[2**70, 1]]).X[0, 0] == np.float32(2.0**70)


REFUSED: dict[str, tuple[Any, ...]] = {
    "a quantity": (
        Quantity([[1.0, 2.0]]),
        "X ",
        "Quantity",
        "unit",
    ),
    "quantities": ([Quantity([1.0, 2.0])], "X ", "Quantity", "unit"),
    "numbers with units": ([[Quantity(1.0), Quantity(2.0)]], "X ", "Quantity", "unit"),
    "units in objects": (
        np.array([[Quantity(1.0), 2.0]], dtype=object),
        "X ",
        "Quantity",
        "(0, 0)",
    ),
    "an array with a unit": (np.ones((2, 2)).view(AstropyQuantity), "X ", "AstropyQuantity", "unit"),
    "rows with a unit": ([np.ones(2).view(AstropyQuantity)], "X ", "AstropyQuantity", "unit"),
    "another mask": (
        np.ones((2, 2)).view(Masked),
        "X ",
        "Masked",
    ),
    "text among numbers": (
        [[1, "2"], [3, 4]],
        "X ",
        "str",
        "(0, 1)",
    ),
    "numbers as text": (
        [["1", "2"]],
        "X ",
        "(samples, features)",
        "<U1",
        "(1, 2)",
    ),
    "bytes": (np.array([[b"1", b"2"]]), "X ", "(samples, features)"),
    "objects of text": (np.array([["1", "2"]], dtype=object), "X ", "(samples, features)"),
    "times": (np.array([["2024-01-01"]], dtype="datetime64[D]"), "X ", "(samples, features)"),
    "spans of time": (np.array([[1]], dtype="timedelta64[s]"), "X ", "(samples, features)"),
    "times in objects": (Frame([[np.datetime64("2024-01-01"), 1.0]]), "X ", "datetime64", "(0, 0)"),
    "complex": ([[1j, 2]], "X ", "complex", "(0, 0)"),
    "complex arrays": (
        np.ones((2, 2)) * 1j,
        "X ",
        "(samples, features)",
        "complex128",
    ),
    "masked complex": (np.ma.array([[1j]], mask=[[True]]), "X ", "(samples, features)"),
    "masked records": (np.ma.zeros(2, dtype=[("u", "f4")]), "X ", "(samples, features)"),
    "a structure": (np.zeros(2, dtype=[("u", "f4"), ("v", "f4")]), "X ", "(samples, features)"),
    "structures": (np.zeros((2, 2), dtype=[("u", "f4")]), "X ", "(samples, features)"),
    "a table of names": ({"u": [1.0], "v": [2.0]}, "X ", "dict"),
    "a generator": ((row for row in [[1, 2]]), "X ", "generator"),
    "nothing": (None, "X ", "(samples, features)"),
    "only missing things": ([None, None], "X ", "(samples, features)"),
    "ragged": ([[1, 2], [3]], "X ", "rows", "length"),
    "ragged objects": ([[1, None], [3]], "X ", "rows", "length"),
    "ragged arrays": ([np.ones(2), np.ones(3)], "X ", "rows", "length"),
    "a tensor elsewhere": (Tensor(0, RuntimeError("s3cret")), "X: ", "RuntimeError", "test_conversion.py:"),
    "a tensor that ends all": (Tensor(0, SystemExit("s3cret")), "X: ", "SystemExit", "test_conversion.py:"),
    "rows that raise": ([Tensor(0, TypeError("s3cret"))], "X: ", "TypeError", "test_conversion.py:"),
}


@pytest.mark.parametrize(("X", "facts"), [(X, facts) for X, *facts in REFUSED.values()], ids=REFUSED.keys())
def test_what_would_not_mean_the_same_is_refused(X: Any, facts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(X)
    assert_tells(str(caught.value), "f: ", *facts)
    assert "s3cret" not in str(caught.value)
    assert "Quantity" not in caught.value.public


def test_a_list_that_contains_itself_ends_too() -> None:
    endless: list[Any] = [1.0]
    endless.append(endless)
    with pytest.raises(DataError, match=telling("f: X: ", "RecursionError")):
        read(endless)


# Answers

X = np.arange(2.0 * N).reshape(N, 2)
DROP = DataSettings(missing="drop", holdout=0)


def with_hole(values: list[Any], hole: Any) -> list[Any]:
    return [*values[:5], hole, *values[6:]]


LABELS = {
    "text with None": with_hole(["walk", "run"] * 15, None),
    "text with NaN": with_hole(["walk", "run"] * 15, NAN),
    "text with NA": np.array(with_hole(["walk", "run"] * 15, NA), dtype=object),
    "empty text": with_hole(["walk", "run"] * 15, ""),
    "masked text": np.ma.array(["walk", "run"] * 15, mask=with_hole([False] * N, True)),
    "masked objects": np.ma.array(
        with_hole(["walk", "run"] * 15, 7), mask=with_hole([False] * N, True), dtype=object
    ),
    "masked numbers": np.ma.array([0, 1] * 15, mask=with_hole([False] * N, True)),
    "masked numbers of no class": np.ma.array(
        with_hole([0, 1] * 15, -999), mask=with_hole([False] * N, True)
    ),
    "masked booleans": np.ma.array([False, True] * 15, mask=with_hole([False] * N, True)),
    "numbers with None": with_hole([0, 1] * 15, None),
    "numbers with NA": Frame(with_hole([0, 1] * 15, NA)),
    "booleans with None": with_hole([False, True] * 15, None),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_a_missing_label_is_a_missing_answer(labels: Any) -> None:
    samples = read(X, labels)
    dataset = fit(samples, WALK_RUN, DROP)
    np.testing.assert_array_equal(dataset.X, np.delete(X, 5, axis=0))
    np.testing.assert_array_equal(dataset.y, np.delete([0, 1] * 15, 5))
    assert_tells(unfit(samples, WALK_RUN)[1], "f: row 5: ", "answer", "[data] missing", "drop", "fill")


def test_a_class_that_is_called_nan_is_a_class() -> None:
    labels = ["nan", "run"] * 15
    assert fit(read(X, labels), classifier("run", "nan"), ALL).y.tolist() == [1, 0] * 15


TARGETS = {
    "masked": np.ma.array(with_hole([1.0] * N, -999.0), mask=with_hole([False] * N, True)),
    "masked integers": np.ma.array(with_hole([1] * N, -999), mask=with_hole([False] * N, True)),
    "masked columns": np.ma.array(with_hole([1] * N, 0), mask=with_hole([False] * N, True))[:, None],
    "None": with_hole([1.0] * N, None),
    "integers with None": with_hole([1] * N, None),
    "columns with None": with_hole([[1.0]] * N, [None]),
    "decimals": with_hole([Decimal(1)] * N, None),
    "NaN": with_hole([1.0] * N, NAN),
}


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS.keys())
def test_a_missing_target_is_a_missing_answer(targets: Any) -> None:
    samples = read(X, targets)
    dataset = fit(samples, regression("t"), DROP)
    np.testing.assert_array_equal(dataset.X, np.delete(X, 5, axis=0))
    np.testing.assert_array_equal(dataset.y, np.ones((N - 1, 1)))
    assert_tells(unfit(samples, regression("t"))[1], "f: row 5: ", "answer")


@pytest.mark.parametrize(
    ("y", "facts"),
    [
        ([1, "walk"] * 15, ["y ", "str", "(1)"]),
        (Quantity([1.0] * N), ["y ", "Quantity", "unit"]),
        (np.array(["2024-01-01"] * N, dtype="datetime64[D]"), ["y ", "(samples,)"]),
        ([np.datetime64("2024-01-01")] * N, ["y ", "datetime64", "(0)"]),
        ([1j] * N, ["y ", "complex", "(0)"]),
        ({"walk"}, ["y ", "set"]),
        (Tensor(0, ValueError("s3cret")), ["y: ", "ValueError", "test_conversion.py:"]),
    ],
)
def test_answers_that_would_not_mean_the_same_are_refused(y: Any, facts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(X, y)
    assert_tells(str(caught.value), "f: ", *facts)


def test_series_are_never_missing() -> None:
    assert read(X, None, ["a", "b"] * 15).series.tolist() == [0, 1] * 15
    assert read(X, None, np.array(["a", "b"] * 15, dtype=object)).series.tolist() == [0, 1] * 15
    for series in (
        with_hole(["a"] * N, None),
        np.ma.array([1] * N, mask=with_hole([False] * N, True)),
        with_hole([1] * N, NA),
    ):
        with pytest.raises(DataError, match=telling("f: series ")):
            read(X, None, series)


def test_an_archive_keeps_the_numbers_below_a_mask(tmp_path: Path) -> None:
    """NumPy writes no mask: what was hidden is a number again, and nobody can tell. The README says so."""
    np.savez(tmp_path / "a.npz", X=MASKED)
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["X"][0, 1] == -999


def test_labels_in_bytes_are_text_in_a_list_too() -> None:
    X = [[1.0]] * 4
    for y in ([b"walk", b"run"] * 2, np.array([b"walk", b"run"] * 2)):
        found = read(X, y).y
        assert found is not None
        assert found.tolist() == ["walk", "run"] * 2
