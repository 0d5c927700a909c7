"""The classes that devices told in a survey, if their owners agreed, read from the ledger."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from aggregator.aggregation.updates import admitted, read
from aggregator.ledger.reading import read_only
from fedge.errors import DamagedState
from fedge.wire.freshness import RoundId
from fedge.wire.messages.survey import Survey

Classes = tuple[tuple[str, int], ...]
"""Names and rounded rows, the most rows first."""


def classes_told(ledger: Path) -> Mapping[str, Classes]:
    """The classes by device, from the survey that made the newest generation's frozen layers.

    Devices that told none are left out, and those whose survey is not kept or is damaged.

    Raises:
        StateError: there is no ledger, or it cannot be read.
    """
    found: dict[str, Classes] = {}
    with read_only(ledger) as open_ledger:
        meta = open_ledger.meta()
        generation = open_ledger.survey_of(meta.generation) if meta is not None else None
        if generation is None:
            return found
        for device, answer in admitted(open_ledger, RoundId(generation, 0)).items():
            with suppress(DamagedState):
                message = read(open_ledger, device, answer)
                if isinstance(message, Survey) and message.classes:
                    told = [(one.name, one.rows) for one in message.classes]
                    found[device] = tuple(sorted(told, key=lambda one: (-one[1], one[0])))
    return found
