"""The slots that a manifest names. Pure."""

from dataclasses import dataclass

from fedge.wire.messages.frame import Blob


@dataclass(frozen=True)
class Slots:
    """Where task, model and key frame lie, each 0 or 1; None: it is not known, or there is none."""

    task: int | None = None
    model: int | None = None
    key: int | None = None

    @staticmethod
    def of(task: Blob | None, model: Blob | None, key: Blob | None) -> "Slots":
        """The slots of these contents."""
        return Slots(*(blob.slot if blob is not None else None for blob in (task, model, key)))
