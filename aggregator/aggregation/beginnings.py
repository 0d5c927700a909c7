"""The beginning of a generation without a survey: a kept model, or one computed from kept rounds.

It is a function of the ledger and of the `Beginning`, bit for bit. So the new generation's round 0 can be
computed again as any other round, while the rounds that it is made of are kept.

**Some devices left out.** The model of round N is taken as it is: choose N before the devices did harm. The
rounds after N, up to `last`, are added to it, each without these devices:

    w'_(N+1) = m_(N+1)    and    w'_r = w'_(r-1) + (m_r - w_(r-1))    for r = N+2 … last,

where w_r is the model that round r closed with, and m_r what its own rule and server optimizer make of its
base w_(r-1) and of the updates of the others. The optimizer's state begins as it was after round N, and
follows the steps that are taken here; the new generation begins at its `init`. Round N+1 is exact: it is the
model that the round would have made without the devices. Each further round adds the changes of the others,
which they made from a model with the devices' contribution in it. So the steps of the devices are removed in
full, and the reactions of the others to these steps are not. docs/operations.md says how far that goes.

**Devices left out of the survey.** The frozen layers are merged again from the kept surveys of the others,
and the weights are folded into them (`aggregator.aggregation.reparametrization`): the model answers as
before, and learns on from there.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation import survey
from aggregator.aggregation.admitted_surveys import surveyed
from aggregator.aggregation.aggregate import Vector
from aggregator.aggregation.models import clusters_of
from aggregator.aggregation.recomputation import KEPT, digest_of, made_by, parts_of, unknown_rule
from aggregator.aggregation.reparametrization import fold
from aggregator.aggregation.survey import Unmeasured
from aggregator.aggregation.updates import admitted
from aggregator.core.parts import Part
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.records import Beginning
from fedge.algorithms.protocols import WEIGHTS, State, cluster_names
from fedge.errors import DataError
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.task import Task

RULE = KEPT
"""The rule that round 0 of such a generation names; a change of any bit needs another version."""


@dataclass(frozen=True, eq=False)
class Begun:
    """The model that a generation begins with, and its task."""

    task: Task
    task_data: bytes
    """The task as it is stored and announced: the source's own bytes where it is the source's."""
    vector: Vector
    """Of shape (p,)."""
    clusters: dict[str, Vector]
    """The further shared models by name, of shape (p,) each; empty if there is only one."""
    samples: dict[str, int]
    """The sum of n_k, over the rounds computed again, of each device in them; empty if there are none."""


def begin_with(ledger: LedgerReader, beginning: Beginning) -> Begun:
    """Compute what a generation begins with.

    Raises:
        DataError: its source rounds are no longer kept, or do not make a model.
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
        vectors = _models_of(ledger, source, size)
    else:
        vectors = _again(ledger, beginning, size, samples)
    if _merges_surveys(ledger, beginning):
        assert beginning.survey is not None
        asked = RoundId(beginning.survey, 0)
        task, vectors = _resurvey(ledger, task, vectors, asked, beginning.survey_without)
        data = pack(task)
    return Begun(task, data, vectors.pop(WEIGHTS), vectors, samples)


def require_kept(ledger: LedgerReader, beginning: Beginning) -> None:
    """Check that the ledger has all that a beginning is made of.

    Raises:
        DataError: a part is not kept; the error names the rounds that are.
    """
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
            "the surveys from which the frozen layers were merged are no longer kept: an older program freed "
            "them. Run `fedge-aggregator new-generation`, which surveys all devices again"
        )


def _merges_surveys(ledger: LedgerReader, beginning: Beginning) -> bool:
    """Whether the frozen layers differ from those of the source."""
    before = ledger.beginning(beginning.source.generation)
    return sorted(beginning.survey_without) != sorted(before.survey_without if before is not None else ())


def _freed(ledger: LedgerReader, round_id: RoundId) -> str:
    last = ledger.last_closed(round_id.generation)
    if last is None or round_id > last:
        known = f"the last closed one is {last}" if last else "none of its generation is"
        return f"round {round_id} is not closed; {known}"
    kept = spans(ledger.kept_models(round_id.generation))
    which = f"kept of generation {round_id.generation}: {kept}" if kept else "none of its generation is kept"
    return f"round {round_id} is no longer kept; {which} ([state] keep_rounds and keep_bytes)"


def spans(numbers: list[int]) -> str:
    """Whole numbers for people: `0, 4 to 9`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first} to {last}" if last > first else f"{first}" for first, last in found)


def _models_of(ledger: LedgerReader, round_id: RoundId, size: int) -> dict[str, Vector]:
    """The shared models of a round by name, `weights` first."""
    models = clusters_of(ledger, digest_of(ledger, round_id), size)
    return dict(zip(cluster_names(len(models)), models, strict=True))


def _again(
    ledger: LedgerReader, beginning: Beginning, size: int, samples: dict[str, int]
) -> dict[str, Vector]:
    """The rounds after the source without some devices: all shared models; sums are float64, rounded once."""
    generation, first = beginning.source.generation, beginning.source.round + 1
    totals: dict[str, NDArray[np.float64]] = {}
    state: tuple[Part, State] | None = None
    rule_state: tuple[Part, State] | None = None
    for number in range(first, beginning.last + 1):
        round_id = RoundId(generation, number)
        if ledger.only_measured(round_id):
            continue
        made = made_by(ledger, round_id, size, beginning.without, state, rule_state)
        parts = parts_of(ledger, round_id)
        state, rule_state = (parts.server, made.state), (parts.rule, made.rule_state)
        for device, answer in admitted(ledger, round_id, beginning.without).items():
            samples[device] = samples.get(device, 0) + answer.samples
        before = _models_of(ledger, RoundId(generation, number - 1), size) if totals else {}
        models = {WEIGHTS: made.vector, **made.vectors}
        for name in parts.models:
            if name not in totals:
                totals[name] = models[name].astype(np.float64)
            else:
                totals[name] += models[name]
                totals[name] -= before[name]
    assert totals
    with np.errstate(over="ignore"):
        vectors = {name: total.astype(np.float32) for name, total in totals.items()}
    if not all(np.isfinite(vector).all() for vector in vectors.values()):
        raise DataError(
            f"the rounds after {beginning.source}, computed again without {', '.join(beginning.without)}, "
            f"give weights that are not finite; begin with the model of round {beginning.source} alone"
        )
    return vectors


def _resurvey(
    ledger: LedgerReader, task: Task, vectors: dict[str, Vector], asked: RoundId, without: Collection[str]
) -> tuple[Task, dict[str, Vector]]:
    """The task with frozen layers from the others' surveys, and weights that give the same answers there."""
    network = task.network
    plain = type(network)(inputs=network.inputs, layers=network.core, loss=network.loss)
    bare = Task.model_validate({**dict(task), "network": plain})
    if not admitted(ledger, asked, without):
        raise DataError(
            f"no device is left in the survey {asked} without {', '.join(sorted(without))}; leave out fewer"
        )
    found = surveyed(ledger, asked, bare, rule=_survey_rule(ledger, asked), without=without)
    if isinstance(found, Unmeasured):
        raise DataError(f"without {', '.join(sorted(without))} the survey makes no model: {found}")
    folded = {}
    for name, vector in vectors.items():
        each = fold(network, found.network, vector)
        if each is not None:
            folded[name] = each
    if len(folded) < len(vectors):
        raise DataError(
            f"the weights cannot be adapted to frozen layers without {', '.join(sorted(without))}: they "
            "would not be finite, or the layer beside a frozen one cannot take up the change. Run "
            "`fedge-aggregator new-generation`, which begins with a survey"
        )
    return found, folded


def _survey_rule(ledger: LedgerReader, asked: RoundId) -> str:
    rule = ledger.rule(asked)
    if rule is None or rule not in survey.RULES:
        raise DataError(unknown_rule(asked, rule))
    return rule
