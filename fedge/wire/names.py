"""Names on the wire: bounded strings. A registry checks what they mean; the decoder does not.

So a message with a codec, a kind of round, a layer or a local algorithm of a newer program is not malformed.
This program reads it, finds that it lacks the name, and answers with a reason (`fedge.wire.capabilities`).
"""

import re
from collections.abc import Iterable
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field

MAX_NAMES = 256
"""The most names in one list."""

WireName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]
"""One name: `float32`, `train`, `dense`."""

Capability = Annotated[str, Field(pattern=r"^[a-z]{1,20}:[a-z0-9][a-z0-9_.-]{0,79}$")]
"""A name with its registry: `codec:float32`, `phase:train`, `layer:dense`."""

Capabilities = Annotated[tuple[Capability, ...], Field(max_length=MAX_NAMES, strict=False)]


M = TypeVar("M", bound=BaseModel)


def mark_unknown(model: M) -> M:
    """Keep only the names of fields that a model does not know, without those that are None."""
    extra = model.__pydantic_extra__
    if extra:
        model.__pydantic_extra__ = {key: True for key, value in extra.items() if value is not None}
    return model


def tidy(keys: Iterable[str]) -> tuple[str, ...]:
    """The keys of an unchecked map as names: in order, at most `MAX_NAMES`, other characters replaced.

    >>> tidy(["proximal", "Décay rate"])
    ('d-cay-rate', 'proximal')
    """
    return tuple(sorted({re.sub(r"[^a-z0-9_.]+", "-", key.lower())[:40].strip("-") or "-" for key in keys}))[
        :MAX_NAMES
    ]
