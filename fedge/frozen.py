"""Changed copies of frozen dataclasses, in a time that does not depend on the number of fields.

`dataclasses.replace` reads each field by name and calls `__init__`. With some fifty fields that takes 80 µs,
and an event changes the state several times; to copy the dictionary of fields takes 2 µs.
"""

from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:  # type checkers know its fields by this name alone
    from dataclasses import replace as replace
else:

    def replace(state: T, /, **changes: Any) -> T:
        """As `dataclasses.replace`, for frozen dataclasses without `__post_init__` and without slots.

        Raises:
            TypeError: there is no field of that name.
        """
        after = object.__new__(type(state))
        fields = vars(after)
        fields.update(vars(state))
        before = len(fields)
        fields.update(changes)
        if len(fields) != before:
            unknown = ", ".join(sorted(changes.keys() - vars(state).keys()))
            raise TypeError(f"{type(state).__name__} has no field {unknown}")
        return after
