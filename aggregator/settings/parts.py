"""`[rule]`, `[server]` and `[personal]` of `federation.toml`: a part by its name, with its options."""

from typing import Any, ClassVar, Self

from pydantic import ConfigDict, model_serializer, model_validator

from aggregator.core.parts import Part
from fedge.algorithms.registry import PERSONAL, RULES, SERVER, Registry
from fedge.service.settings import Section, number_of


class PartSection(Section):
    """A table with the name of a part; its other keys are the options that the part itself has."""

    model_config = ConfigDict(extra="allow")

    PARTS: ClassVar[dict[str, Registry[Any]]]
    """The registries of the parts that may be named, by the key of their options; "": this table."""
    name: str
    """The name of the part."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.part()
        return self

    @model_serializer(mode="plain")
    def _with_all_options(self) -> dict[str, Any]:
        part = self.part()
        return {"name": part.name, **part.given}

    def part(self) -> Part:
        """The part with its options.

        Raises:
            ValueError: there is no part of this name, or it has no such option.
        """
        given = {key: number_of(value) for key, value in (self.model_extra or {}).items()}
        return Part.of(self.PARTS[""], self.name, given)


class RuleSection(PartSection):
    """`[rule]`: how the admitted updates of a round are combined into one vector."""

    PARTS: ClassVar[dict[str, Registry[Any]]] = {"": RULES}
    name: str = "mean"
    """The rule: one of those below, or one of `extensions`."""


class ServerSection(PartSection):
    """`[server]`: how the next model is made from the rule's vector."""

    PARTS: ClassVar[dict[str, Registry[Any]]] = {"": SERVER}
    name: str = "average"
    """The server optimizer: one of those below, or one of `extensions`."""


class PersonalSection(PartSection):
    """`[personal]`: what each device makes for itself of the shared model, and does not share."""

    PARTS: ClassVar[dict[str, Registry[Any]]] = {"": PERSONAL}
    name: str = "none"
    """The personal model: one of those below, or one of `extensions`."""
    compare: bool = False
    """Whether devices also train a model of their own alone, which they do not use, and report how the shared
    model and the personal one compare with it."""

    @model_serializer(mode="plain")
    def _with_all_options(self) -> dict[str, Any]:
        part = self.part()
        return {"name": part.name, "compare": self.compare, **part.given}

    def of_plan(self) -> dict[str, Any]:
        """The fields of the announced plan; a default is not sent, so that older devices can take part."""
        part = self.part()
        return {
            "personal": part.name if part.name != "none" else None,
            "personal_options": part.given or None,
            "compare": self.compare or None,
        }
