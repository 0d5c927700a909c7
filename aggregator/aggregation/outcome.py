"""The outcome of closing a round: computed by the round's phase, then saved with the closed round.

The same ledger gives the same model, bit for bit. Computing only reads the ledger and may take long, so
`aggregator.shell.closer` does it on a thread; the loop saves the outcome at once.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from aggregator.aggregation import codings, server_state
from aggregator.aggregation.job import ClosingJob, Computed, Outcome
from aggregator.core import round_log
from aggregator.core.participation import Participation
from aggregator.core.progress import Progress, progress_of
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.writing import Ledger
from aggregator.phases.phase import phase_of
from aggregator.settings.state import StateSection
from fedge.algorithms.rules.bounds import Factors
from fedge.wire.freshness import RoundId

if TYPE_CHECKING:  # so that `--check` needs no extra; its maps do
    from aggregator.core.federation import Federation

log = logging.getLogger("fedge.aggregator")


def job_of(state: "Federation") -> ClosingJob:
    """The job of closing the round of this state."""
    return ClosingJob(
        round=state.round,
        kind=state.kind,
        task=state.task_message,
        task_blob=state.task,
        model=state.model,
        seed=state.seed,
        chosen=state.cohorts[-1].fraction,
        participation=Participation.of(state),
        factors=Factors(state.rules.clip_norm, state.rules.max_weight),
        parts=state.parts,
        listed=None if state.roster is None else len(state.roster),
        model_codec=state.model_codec,
        key_every=state.key_every,
        answers=state.answers,
        attempt=state.attempt,
        behind=state.rules.max_staleness or 0,
        **phase_of(state.kind).job(state),
    )


def compute(ledger: LedgerReader, job: ClosingJob, go_on: Callable[[], None] = lambda: None) -> Outcome:
    """Compute a round's outcome from the admitted updates in the ledger, which is only read.

    `go_on` is called before each update is read; what it raises ends the work.

    Raises:
        DamagedState: what was admitted is missing or damaged.
    """
    found = phase_of(job.kind).close(ledger, job, go_on)
    if not isinstance(found, Computed):
        return found
    return replace(found, summary={**found.summary, "bytes_up": ledger.update_bytes(job.round)})


def save(
    ledger: Ledger,
    job: ClosingJob,
    computed: Computed,
    seconds: float,
    keep: StateSection,
    progress: Progress | None = None,
    key_slot: int | None = None,
) -> None:
    """Save the new model with the closed round, inside the caller's transaction.

    Args:
        ledger: of the aggregator that closes the round.
        job: which round it is.
        computed: the result.
        seconds: how long the round took, for its summary.
        keep: the updates and models of older rounds are freed beyond these bounds.
        progress: includes this round. The model of its best round is kept; after a survey, that of the
            generation before.
        key_slot: the slot of a new key frame; None: the one after that of the newest.
    """
    round_id, summary = job.round, {**computed.summary, "seconds": seconds}
    told = job.participation.summary()
    if computed.task_data is not None:
        ledger.save_content("task", round_id, computed.task_blob, computed.task_data)
    if computed.model_data is not None:
        ledger.save_content("model", round_id, computed.model, computed.model_data)
    ledger.close_round(
        round_id,
        computed.model.digest,
        computed.devices,
        computed.samples,
        {**summary, **told, **computed.told},
        time.time(),
        computed.rule,
        computed.task_blob.digest,
        replace(job.parts, fleet=computed.fleet).text(),
    )
    ledger.save_weighed(round_id, computed.weighed)
    if computed.masked is not None:
        ledger.save_sum(round_id, computed.masked)
        ledger.drop_exchange()
    if job.noise is not None:
        ledger.save_noise(round_id, job.noise)
    server_state.save(ledger, round_id, job.parts, computed.state)
    if computed.coding is not None:
        codings.save(ledger, round_id, computed.coding, computed.model.slot, key_slot)
    progress = progress or Progress()
    best = _best(ledger, round_id, progress)
    ledger.retain(round_id, keep.keep_rounds, keep.keep_bytes, best, job.behind)
    for level, line in computed.before:
        log.log(level, "%s", line)
    said = round_log.closed(round_id, job.kind, computed.devices, computed.samples, summary, progress)
    said.insert(-1, str(job.participation))
    log.info("%s", round_log.line(said))
    for level, line in computed.after:
        log.log(level, "%s", line)


def _best(ledger: LedgerReader, round_id: RoundId, progress: Progress) -> RoundId | None:
    """The round of the best model, which is kept because it is exported."""
    generation, best = round_id.generation, progress.best
    if round_id.round == 0 and (before := ledger.trained_before(generation)) is not None:
        generation = before.generation
        best = progress_of(ledger.history(generation), progress.by).best
    return None if best is None else RoundId(generation, best.round)
