"""The error for samples that cannot be used for a task."""

from fedge.data.disclosure import Public, withheld
from fedge.errors import DataError
from fedge.wire.reasons import Reason


class Unfit(DataError):  # noqa: N818 (an answer of the device's rather than an error)
    """The samples do not fit the task; the device declines with this reason."""

    def __init__(self, reason: Reason, text: str, told: Public | None = None) -> None:
        super().__init__(text, told or withheld(reason))
        self.reason = reason
