import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.nn.schema import Schema

shapes = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), max_size=5)
schemas = shapes.map(lambda shapes: Schema.of((f"p{i}", shape) for i, shape in enumerate(shapes)))


@given(schemas)
def test_the_slices_follow_each_other_and_cover_the_vector(schema: Schema) -> None:
    assert [i for part in schema.slices.values() for i in range(schema.size)[part]] == list(
        range(schema.size)
    )


@given(schemas)
def test_flatten_is_the_inverse_of_views(schema: Schema) -> None:
    vector = np.arange(schema.size, dtype=np.float32)
    views = schema.views(vector)
    assert {name: view.shape for name, view in views.items()} == dict(schema.parameters)
    np.testing.assert_array_equal(schema.flatten(dict(reversed(views.items()))), vector)


def test_views_are_the_vector_itself() -> None:
    schema = Schema.of([("weight", [2, 3]), ("bias", [3])])
    vector = np.zeros(9)
    schema.views(vector)["bias"][1] = 5
    assert vector.tolist() == [0, 0, 0, 0, 0, 0, 0, 5, 0]


def test_flatten_copies() -> None:
    schema = Schema.of([("bias", [2])])
    bias = np.ones(2)
    vector = schema.flatten({"bias": bias})
    bias[:] = 0
    assert vector.dtype == np.float32
    assert vector.tolist() == [1, 1]


@pytest.mark.parametrize(
    "vector",
    [np.zeros(5), np.zeros((6, 1)), np.zeros(12)[::2]],
    ids=["too short", "a matrix", "not contiguous"],
)
def test_views_refuse_what_is_not_a_flat_vector(vector: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(6,\)"):
        Schema.of([("weight", [2, 3])]).views(vector)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"a": np.zeros(2)}, r"\['a', 'b'\].*\['a'\]"),
        ({"a": np.zeros(2), "b": np.zeros(1), "c": np.zeros(1)}, r"\['a', 'b'\].*\['a', 'b', 'c'\]"),
        ({"a": np.zeros((1, 2)), "b": np.zeros(1)}, r"'a': .*\(2,\).*\(1, 2\)"),
    ],
    ids=["one is missing", "one too many", "another shape"],
)
def test_flatten_refuses_other_parameters(parameters: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schema.of([("a", [2]), ("b", [1])]).flatten(parameters)


def test_names_must_differ() -> None:
    with pytest.raises(ValueError, match="'a'"):
        Schema.of([("a", [1]), ("a", [2])])


def test_no_side_may_be_empty() -> None:
    with pytest.raises(ValueError, match=r"'a': .*1"):
        Schema.of([("a", [2, 0])])
