"""A changed copy of a frozen dataclass is what `dataclasses.replace` gives."""

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest

from agent.core.device import Device
from aggregator.core.events import Tick
from aggregator.core.federation import Federation
from fedge.frozen import replace
from tests.aggregator.stories import federation
from tests.wording import telling


def test_the_copy_has_the_changed_fields_and_the_others() -> None:
    before = federation()
    after = replace(before, spooled=7)
    assert after == dataclasses.replace(before, spooled=7)
    assert type(after) is Federation
    assert (before.spooled, after.spooled) == (0, 7)
    assert replace(before) == before


def test_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="Tick has no field later"):
        replace(Tick(1.0), later=2)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [Federation, Device])
def test_no_field_is_made_after_init(kind: type) -> None:
    """Such a field would keep its old value."""
    assert not hasattr(kind, "__post_init__")
    assert "__slots__" not in vars(kind)
    assert all(field.init for field in dataclasses.fields(kind))


@dataclass(frozen=True)
class Cached:
    value: int = 1

    @cached_property
    def doubled(self) -> int:
        return 2 * self.value


@dataclass(frozen=True)
class Derived:
    value: int = 1
    more: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "more", self.value + 1)


@dataclass(frozen=True, slots=True)
class Slotted:
    value: int = 1


@dataclass
class Mutable:
    value: int = 1


@pytest.mark.parametrize("state", [Cached(), Derived(), Slotted(), Mutable(), object()])
def test_classes_that_are_more_than_their_fields_are_refused(state: Any) -> None:
    with pytest.raises(TypeError, match=telling(type(state).__name__)):
        replace(state, value=2)
