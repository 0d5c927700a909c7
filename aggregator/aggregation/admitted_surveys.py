"""The admitted surveys of a round, and the frozen layers that they give."""

from collections.abc import Callable, Collection, Mapping

import numpy as np

from aggregator.aggregation import survey
from aggregator.aggregation.survey import Measured, Unmeasured, check, standardize
from aggregator.aggregation.updates import admitted, damaged, read
from aggregator.core import mixes
from aggregator.ledger.reading import LedgerReader
from fedge.errors import DamagedState
from fedge.wire.freshness import RoundId
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task


def surveyed(
    ledger: LedgerReader,
    round_id: RoundId,
    task: Task,
    go_on: Callable[[], None] = lambda: None,
    rule: str = survey.RULE,
    without: Collection[str] = (),
) -> Task | Unmeasured:
    """The task with its frozen layers, from the admitted surveys of a closed round.

    They are merged by `rule`, with the bound on inputs that the round was closed with and not that of the
    present settings. The other arguments and errors are those of `measured`.
    """
    clip = _clip(ledger, round_id, rule)
    return standardize(task, measured(ledger, round_id, task, go_on, without), rule, clip)


def _clip(ledger: LedgerReader, round_id: RoundId, rule: str) -> float | None:
    if rule not in (survey.CLIPPED, survey.EXACT):
        return None
    summary = ledger.summary(round_id)
    if rule == survey.EXACT and "clip" not in summary:
        return None
    try:
        return float(summary["clip"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedState(f"the bound on inputs of round {round_id} is damaged: {error!r}") from None


def measured(
    ledger: LedgerReader,
    round_id: RoundId,
    task: Task,
    go_on: Callable[[], None] = lambda: None,
    without: Collection[str] = (),
) -> dict[str, Measured]:
    """The admitted surveys by device; `go_on` and `without` as in `mean_of`.

    Raises:
        DamagedState: an admitted survey is missing or damaged.
    """
    surveys: dict[str, Measured] = {}
    answers = admitted(ledger, round_id, without)
    # One block for all, which is given back as a whole: small ones would stay with the process.
    room = np.empty((len(answers), 3, len(task.features) + len(task.targets or ())))
    for place, (device, answer) in zip(room, answers.items(), strict=True):
        go_on()
        message = read(ledger, device, answer)
        # The cap is what was admitted: lowering [federation] max_samples since then changes nothing.
        found = check(message, task, answer.samples) if isinstance(message, Survey) else None
        if not isinstance(found, Measured):
            raise damaged(device, f"found no valid survey for round {round_id}")
        surveys[device] = found.held_in(place)
    return surveys


def mix_told(surveys: Mapping[str, Measured], task: Task) -> mixes.Mix | None:
    """The classes that the devices tell; None: no owner lets a device tell them."""
    told = {device: measured.classes for device, measured in surveys.items()}
    return mixes.mix_of(told, task.classes or ())
