"""Names on the wire: bounded strings whose meaning a registry judges, never the decoder.

A codec, a kind of round, a layer or a local algorithm that a newer program names is no malformed message. It
is understood as something this program cannot do, and answered with a reason (see `fedge.wire.capabilities`).
"""

import re
from collections.abc import Iterable
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field

MAX_NAMES = 256
"""Names in one list."""

WireName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]
"""One name: `float32`, `train`, `dense`."""

Capability = Annotated[str, Field(pattern=r"^[a-z]{1,20}:[a-z0-9][a-z0-9_.-]{0,79}$")]
"""A name with its registry: `codec:float32`, `phase:train`, `layer:dense`."""

Capabilities = Annotated[tuple[Capability, ...], Field(max_length=MAX_NAMES, strict=False)]


M = TypeVar("M", bound=BaseModel)


def mark_unknown(model: M) -> M:
    """Keep of the fields that a model does not know only that they are there; one that is None is not."""
    extra = model.__pydantic_extra__
    if extra:
        model.__pydantic_extra__ = {key: True for key, value in extra.items() if value is not None}
    return model


def tidy(keys: Iterable[str]) -> tuple[str, ...]:
    """Keys of somebody's map as names: in order, at most `MAX_NAMES`, without what no name can hold.

    >>> tidy(["proximal", "Décay rate"])
    ('d-cay-rate', 'proximal')
    """
    return tuple(sorted({re.sub(r"[^a-z0-9_.]+", "-", key.lower())[:40].strip("-") or "-" for key in keys}))[
        :MAX_NAMES
    ]
