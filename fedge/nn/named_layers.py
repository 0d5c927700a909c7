"""Read layers by their names, from a network or from settings; layers of newer programs stay as unknown."""

from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, ConfigDict, SerializeAsAny, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType

from fedge.nn.layer import LayerSpec, asked, kind_of, kinds
from fedge.wire.names import WireName, mark_unknown, tidy

_ERRORS = frozenset(get_args(ErrorType))


class UnknownLayer(LayerSpec):
    """A layer of a newer program, or with fields that this program does not know; it cannot be computed
    here."""

    model_config = ConfigDict(extra="allow")

    type: WireName

    _unknown = model_validator(mode="after")(mark_unknown)


def _read(layer: Any) -> Any:
    """Read a layer of a network by its name; `UnknownLayer` unless the layer and all its fields are known."""
    name = layer.get("type") if isinstance(layer, dict) else getattr(layer, "type", None)
    kind = kind_of(name) if isinstance(name, str) else None
    if isinstance(layer, dict):
        whole = kind is not None and asked(layer).keys() <= kind.model_fields.keys()
        return (
            _validated(kind, kind.named(), layer)
            if kind and whole
            else _validated(UnknownLayer, "unknown", layer)
        )
    return layer if type(layer) is kind else _validated(UnknownLayer, "unknown", layer)


def _read_trained(layer: Any) -> Any:
    """Read a layer that a federation should train; it and all its fields must be known."""
    name = layer.get("type") if isinstance(layer, dict) else getattr(layer, "type", None)
    kind = kind_of(name) if isinstance(name, str) else None
    if kind is not None and kind.stands == "between":
        return layer if type(layer) is kind else _validated(kind, kind.named(), layer)
    if not isinstance(layer, dict):
        return layer  # pydantic reports what was expected
    context = {"discriminator": "'type'"}
    if "type" in layer:
        accepted = ", ".join(repr(kind.named()) for kind in kinds() if kind.stands == "between")
        context |= {"tag": str(name)[:100], "expected_tags": accepted}
    what = "union_tag_invalid" if "type" in layer else "union_tag_not_found"
    raise ValidationError.from_exception_data(
        "layer", [InitErrorDetails(type=what, loc=(), input=layer, ctx=context)]
    )


def _validated(kind: type[LayerSpec], tag: str, layer: Any) -> LayerSpec:
    """Read a layer of this kind; the location of an error begins with its tag."""
    try:
        return kind.model_validate(layer)
    except ValidationError as error:
        lines = [_below(tag, line) for line in error.errors(include_url=False)]
        raise ValidationError.from_exception_data(tag, lines) from None


def _below(tag: str, line: ErrorDetails) -> InitErrorDetails:
    kind: str | PydanticCustomError = line["type"]
    if kind not in _ERRORS:  # an error of the layer's own check
        kind = PydanticCustomError(line["type"], line["msg"])
    return InitErrorDetails(type=kind, loc=(tag, *line["loc"]), input=line["input"], ctx=line.get("ctx", {}))


def names_of(layer: LayerSpec) -> tuple[str, ...]:
    """The names that a program must know to compute a layer: its type, and the later fields that are set.

    For a layer with fields that are unknown here, only those fields.
    """
    if not isinstance(layer, UnknownLayer):
        given = (name for name in layer.added if getattr(layer, name) is not None)
        return (layer.name, *(f"{layer.name}.{name}" for name in given))
    kind = kind_of(layer.type)
    if kind is None:
        return (layer.type,)
    unknown = set(layer.model_extra or ()) - kind.model_fields.keys()
    return tuple(f"{layer.type}.{name}" for name in tidy(unknown))


AnyLayer = Annotated[SerializeAsAny[LayerSpec], BeforeValidator(_read)]
"""A layer of the registry, or an unknown one."""
TrainableSpec = Annotated[SerializeAsAny[LayerSpec], BeforeValidator(_read_trained)]
"""A trained layer of the registry."""
