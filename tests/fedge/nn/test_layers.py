"""Layers put together: shapes, names and places of parameters, and what a network refuses."""

from collections.abc import Iterator
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from fedge.algorithms.registry import LAYERS, registered
from fedge.errors import ConfigError
from fedge.nn import Dense, NetworkSpec, ReLU, Tanh, initialize
from fedge.nn.activation import Activation
from fedge.nn.layer import LayerSpec, chain, entry, kinds, step
from fedge.nn.spec import MAX_ROW, UnknownLayer, names_of
from fedge.wire.capabilities import can, required


class Tile(LayerSpec):
    """Each number so many times: (d,) becomes (d, times)."""

    type: Literal["tile"] = "tile"
    times: int = Field(ge=1)
    order: str | None = None

    added: ClassVar[tuple[str, ...]] = ("order",)
    ends: ClassVar[bool] = True

    def output(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        if len(inputs) > 1:
            raise ValueError("takes numbers alone")
        return (*inputs, self.times)

    def build(self, inputs: Any, rows: int, place: slice, dtype: Any) -> Activation:
        return Activation((prod(inputs) * self.times,), rows, place, dtype)


@pytest.fixture
def tile() -> Iterator[None]:
    with registered(entry(Tile)):
        yield


def network(*layers: object, inputs: int = 3, loss: str = "mse") -> NetworkSpec:
    return NetworkSpec(inputs=inputs, layers=layers, loss=loss)


@pytest.mark.usefixtures("tile")
def test_shapes_go_from_layer_to_layer_and_a_dense_one_takes_any() -> None:
    spec = network(Tanh(), Tile(times=4), ReLU(), Dense(units=2), Dense(units=5))
    assert [(each.inputs, each.outputs) for each in spec.placed] == [
        ((3,), (3,)), ((3,), (3, 4)), ((3, 4), (3, 4)), ((3, 4), (2,)), ((2,), (5,)),
    ]  # fmt: skip
    assert spec.outputs == 5
    assert spec.schema.parameters == (
        ("0.weight", (12, 2)), ("0.bias", (2,)), ("1.weight", (2, 5)), ("1.bias", (5,)),
    )  # fmt: skip
    assert [each.place for each in spec.placed[-2:]] == [slice(0, 26), slice(26, 41)]


def test_views_of_a_layer_are_those_of_the_schema() -> None:
    spec = network(Dense(units=2), ReLU(), Dense(units=4))
    vector = np.arange(spec.schema.size)
    views = spec.schema.views(vector)
    for each in spec.placed:
        for name, view in each.views(vector).items():
            np.testing.assert_array_equal(view, views[each.prefix + name])
            assert np.shares_memory(view, vector)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ((Dense(units=2), ReLU()), "dense or tile"),
        ((Tile(times=2), Tile(times=2), Dense(units=1)), "layer 1, tile: "),
        ((Dense(units=MAX_ROW // 64), Tile(times=65), Dense(units=1)), "layer 1, tile"),
        ((Tile(times=2),), "nothing to learn"),
    ],
    ids=["the last one", "layers that do not fit", "too large a row", "no weights"],
)
def test_what_does_not_fit_together_is_refused(layers: tuple[LayerSpec, ...], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        network(*layers)


@pytest.mark.usefixtures("tile")
def test_what_came_later_to_a_layer_is_a_name_of_its_own() -> None:
    assert {"layer:tile", "layer:tile.order"} <= can()
    plain, ordered = (network(Tile(times=2, order=order), Dense(units=1)) for order in (None, "c"))
    assert required("train", None, plain) & {"layer:tile", "layer:tile.order"} == {"layer:tile"}
    assert names_of(ordered.layers[0]) == ("tile", "tile.order")


@pytest.mark.usefixtures("tile")
def test_the_one_that_follows_decides_how_weights_are_drawn() -> None:
    """Glorot's limit for 3 inputs and 2 outputs is √(6 / 5) = 1.095; beside ReLU it is a normal."""
    plain, rectified = (
        initialize(network(Dense(units=2), *more, Dense(units=1)), np.random.default_rng(1))[:6]
        for more in ((Tile(times=1),), (ReLU(),))
    )
    assert np.abs(plain).max() <= np.sqrt(6 / 5)
    assert not np.array_equal(plain, rectified)


class Careless(Tile):
    """With mistakes that a layer from outside may have."""

    type: Literal["careless"] = "careless"  # type: ignore[assignment]

    @field_validator("times")
    @classmethod
    def _even(cls, times: int) -> int:
        if times == 13:
            raise PydanticCustomError("unlucky", "{times}")
        return times

    def output(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        return (inputs[0] // (self.times - 1),)


def test_mistakes_of_one_from_outside_refuse_a_network_and_crash_nothing() -> None:
    with registered(entry(Careless)):
        network({"type": "careless", "times": 3}, Dense(units=1))
        for times, text in ((13, "{times}"), (1, "layer 0, careless: .*by zero")):
            with pytest.raises(ValidationError, match=text):
                network({"type": "careless", "times": times}, Dense(units=1))


def test_one_with_unknown_fields_may_be_put_into_another_network() -> None:
    spec = network({"type": "dense", "units": 2, "groups": 4}, Dense(units=1))
    again = NetworkSpec(inputs=3, layers=spec.layers, loss="mse")
    assert again == spec
    assert names_of(again.layers[0]) == ("dense.groups",)


def test_one_that_is_not_registered_is_not_known() -> None:
    spec = network({"type": "tile", "times": 2}, Dense(units=1))
    assert isinstance(spec.layers[0], UnknownLayer)
    assert not spec.computable
    with pytest.raises(ValidationError):
        network(Tile(times=2), Dense(units=1))


def test_another_one_of_the_same_name_is_refused() -> None:
    class Dense2(Dense):
        pass

    with pytest.raises(ConfigError, match="dense"), registered(entry(Dense2)):
        pass
    assert LAYERS.entries()["dense"].options is Dense


def test_every_built_in_one_can_be_read_of_what_it_says() -> None:
    for kind in kinds():
        layer = kind.model_validate(dict(kind.example))
        assert LAYERS.make(layer.name, layer.model_dump(exclude_none=True)) == layer


def test_operators_in_a_chain_take_each_others_output() -> None:
    found = chain(step("Reshape", "a", axis=1), step("Relu"), step("Reshape", "b"), a=np.zeros(1))
    assert [(node.operator, node.inputs, node.output) for node in found.nodes] == [
        ("Reshape", ("x", "a"), "reshape"),
        ("Relu", ("reshape",), "relu"),
        ("Reshape", ("relu", "b"), "reshape2"),
    ]
    assert found.nodes[0].attributes == {"axis": 1}
    assert list(found.constants) == ["a"]
