"""What a generation begins with that asks for no survey: a kept model, or what is made of kept rounds.

A function of the ledger and of the `Beginning`, bit for bit, so that the new generation's round 0 can be
computed again as any other round can, while the rounds that it is made of are kept.

**Some devices left out.** The model of round N is taken as it is: choose N before the devices did harm. On
top of that come the rounds after N, up to `last`, each without them:

    w'_(N+1) = m_(N+1)    and    w'_r = w'_(r-1) + (m_r - w_(r-1))    for r = N+2 … last,

where w_r is the model that round r closed with, and m_r what its own rule makes of its base w_(r-1) and of
the updates of the others. Round N+1 is exact: it is the model that would have come of it without the
devices. Each further round adds what the others changed, but measured from a model that had the devices'
part in it: their own steps are taken out in full, what the others did in answer to these is not.
docs/operations.md says how far that goes.

**Devices left out of the survey.** The frozen layers are merged again from the kept surveys of the others,
and the weights are folded into them (`aggregator.aggregation.reparametrization`): the model answers as
before, and learns on from there.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation import survey
from aggregator.aggregation.mean import Updates, Vector, admitted, bounded_mean, mean_of
from aggregator.aggregation.outcome import surveyed
from aggregator.aggregation.reparametrization import fold
from aggregator.aggregation.survey import Unmeasured
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.records import Beginning
from fedge import __version__
from fedge.algorithms.registry import CODECS
from fedge.algorithms.rules import bounds, mean
from fedge.algorithms.rules.bounds import Factors
from fedge.errors import DamagedState, DataError
from fedge.nn.spec import Rescale, Standardize
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task

RULE = "kept/1"
"""What the round 0 of such a generation names; what gives another bit of any of them is another version."""


@dataclass(frozen=True, eq=False)
class Begun:
    """The model that a generation begins with, and what it belongs to."""

    task: Task
    task_data: bytes
    """The task as it is stored and announced: the source's own bytes where it is the source's."""
    vector: Vector
    """Of shape (p,)."""
    samples: dict[str, int]
    """n_k of each device whose update was averaged again, of all those rounds; empty where none was."""


def begin_with(ledger: LedgerReader, beginning: Beginning) -> Begun:
    """Compute what a generation begins with.

    Raises:
        DataError: what it is made of is not there any more, or leaves nothing to begin with.
        DamagedState: what was admitted is missing or damaged.
    """
    require_kept(ledger, beginning)
    source = beginning.source
    digest = ledger.task_after(source)
    assert digest is not None
    data = ledger.content(digest)
    task = unpack(data, Task, max_bytes=MAX_SIZE)
    size = task.network.schema.size
    samples: dict[str, int] = {}
    if beginning.last == source.round:
        vector = _model(ledger, source, size)
    else:
        vector = _again(ledger, beginning, size, samples)
    if _merges_surveys(ledger, beginning):
        assert beginning.survey is not None
        task, vector = _resurvey(ledger, task, vector, RoundId(beginning.survey, 0), beginning.survey_without)
        data = pack(task)
    return Begun(task, data, vector, samples)


def require_kept(ledger: LedgerReader, beginning: Beginning) -> None:
    """Raise a DataError that names what is kept, if a part of a beginning is not."""
    source, last = beginning.source, beginning.last
    models = set(ledger.kept_models(source.generation))
    rounds = set(ledger.kept_rounds(source.generation))
    for number in range(source.round, last):
        made = number + 1 in rounds or ledger.only_measured(RoundId(source.generation, number + 1))
        if number not in models or not made:
            gone = number if number not in models else number + 1
            raise DataError(_freed(ledger, RoundId(source.generation, gone)))
    if source.round not in models or ledger.task_after(source) is None:
        raise DataError(_freed(ledger, source))
    if _merges_surveys(ledger, beginning) and (
        beginning.survey is None or 0 not in ledger.kept_rounds(beginning.survey)
    ):
        raise DataError(
            "the surveys are not kept any more that the frozen layers were merged from: a program before "
            "this one freed them. `fedge-aggregator new-generation` asks all devices anew"
        )


def _merges_surveys(ledger: LedgerReader, beginning: Beginning) -> bool:
    """Whether the frozen layers are others than those of the source."""
    before = ledger.beginning(beginning.source.generation)
    return sorted(beginning.survey_without) != sorted(before.survey_without if before is not None else ())


def _freed(ledger: LedgerReader, round_id: RoundId) -> str:
    last = ledger.last_closed(round_id.generation)
    if last is None or round_id > last:
        known = f"the last closed one is {last}" if last else "none of its generation is"
        return f"round {round_id} is not closed; {known}"
    kept = spans(ledger.kept_models(round_id.generation))
    which = f"kept of generation {round_id.generation}: {kept}" if kept else "none of its generation is kept"
    return f"round {round_id} is not kept any more; {which} ([state] keep_rounds and keep_bytes)"


def spans(numbers: list[int]) -> str:
    """Whole numbers for people: `0, 4 to 9`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first} to {last}" if last > first else f"{first}" for first, last in found)


def made_by(ledger: LedgerReader, round_id: RoundId, size: int, without: Collection[str] = ()) -> Vector:
    """What a training round's own rule makes of its updates, of shape (size,); some devices may be left out.

    Raises:
        DataError: this program does not know the rule, the round's base is not kept, or nobody is left.
        DamagedState: an admitted update is missing or damaged.
    """
    rule = ledger.rule(round_id)
    if rule not in (mean.RULE, bounds.RULE):
        raise DataError(unknown_rule(round_id, rule))
    updates = Updates(ledger, round_id, size, without=without)
    if not updates.answers:
        raise DataError(f"nobody is left in round {round_id} without {', '.join(sorted(without))}")
    if rule == mean.RULE:
        return mean_of(ledger, round_id, size, without=without)[0]
    base = _model(ledger, round_id._replace(round=round_id.round - 1), size)
    return bounded_mean(updates, base, _factors(ledger, round_id)).vector


def _factors(ledger: LedgerReader, round_id: RoundId) -> Factors:
    """The factors that a round was closed with: its own, whatever the settings have become since."""
    summary = ledger.summary(round_id)
    try:
        return Factors(float(summary["clip_norm"]), float(summary["max_weight"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedState(f"the factors of round {round_id} are damaged: {error!r}") from None


def unknown_rule(round_id: RoundId, rule: str | None) -> str:
    """What to say of a round whose rule is none of ours: another would give another model."""
    known = ", ".join((mean.RULE, bounds.RULE, *survey.RULES, RULE))
    return (
        f"round {round_id} was closed by the rule {rule!r}, and fedge {__version__} knows only {known}: "
        "replay it with the version that closed it, or a newer one"
    )


def _again(ledger: LedgerReader, beginning: Beginning, size: int, samples: dict[str, int]) -> Vector:
    """The rounds after the source without some devices; sums are float64, rounded once."""
    generation, first = beginning.source.generation, beginning.source.round + 1
    total: NDArray[np.float64] | None = None
    for number in range(first, beginning.last + 1):
        round_id = RoundId(generation, number)
        if ledger.only_measured(round_id):
            continue
        made = made_by(ledger, round_id, size, beginning.without)
        for device, answer in admitted(ledger, round_id, beginning.without).items():
            samples[device] = samples.get(device, 0) + answer.samples
        if total is None:
            total = made.astype(np.float64)
        else:
            total += made
            total -= _model(ledger, RoundId(generation, number - 1), size)
    assert total is not None
    with np.errstate(over="ignore"):
        vector = total.astype(np.float32)
    if not np.isfinite(vector).all():
        raise DataError(
            f"the rounds after {beginning.source} make no model without {', '.join(beginning.without)}: "
            f"its weights are not finite; begin with round {beginning.source} alone"
        )
    return vector


def _resurvey(
    ledger: LedgerReader, task: Task, vector: Vector, asked: RoundId, without: Collection[str]
) -> tuple[Task, Vector]:
    """The task with frozen layers of the others' surveys, and weights that answer there as before."""
    network = task.network
    core = tuple(layer for layer in network.layers if not isinstance(layer, Standardize | Rescale))
    plain = type(network)(inputs=network.inputs, layers=core, loss=network.loss)
    bare = Task.model_validate({**dict(task), "network": plain})
    if not admitted(ledger, asked, without):
        raise DataError(f"nobody is left in the survey {asked} without {', '.join(sorted(without))}")
    found = surveyed(ledger, asked, bare, rule=_survey_rule(ledger, asked), without=without)
    if isinstance(found, Unmeasured):
        raise DataError(f"without {', '.join(sorted(without))} the survey makes no model: {found}")
    folded = fold(network, found.network, vector)
    if folded is None:
        raise DataError(
            f"the weights cannot be carried over to frozen layers without {', '.join(sorted(without))}: "
            "they are not finite there. `fedge-aggregator new-generation` begins with a survey"
        )
    return found, folded


def _survey_rule(ledger: LedgerReader, asked: RoundId) -> str:
    rule = ledger.rule(asked)
    if rule is None or rule not in survey.RULES:
        raise DataError(unknown_rule(asked, rule))
    return rule


def _model(ledger: LedgerReader, round_id: RoundId, size: int) -> Vector:
    digest = ledger.model_of(round_id)
    if digest is None:
        raise DataError(f"the model of round {round_id} is not kept any more")
    message = unpack(ledger.content(digest), Model, max_bytes=MAX_SIZE)
    return CODECS.make(message.codec).decode(message.body, size)
