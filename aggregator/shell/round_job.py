"""The job of the round that is being closed: handed out after the commit, its result saved in a turn."""

import logging
import os
from collections.abc import Callable
from dataclasses import replace

from aggregator.aggregation.aggregate import Unmade, Unusable
from aggregator.aggregation.codings import form_of
from aggregator.aggregation.job import ClosingJob, Computed
from aggregator.aggregation.noise import is_private
from aggregator.aggregation.outcome import job_of, save
from aggregator.aggregation.survey import Unmeasured
from aggregator.core import events as on
from aggregator.core.advice import Sizes, propose
from aggregator.core.events import Event
from aggregator.core.federation import Federation
from aggregator.core.places import free
from aggregator.ledger.writing import Ledger
from aggregator.phases.phase import phase_of
from aggregator.settings.state import StateSection
from aggregator.shell.closer import Closed
from aggregator.shell.counters import Counters
from aggregator.shell.privacy_budget import PrivacyBudget
from fedge.errors import PrivacyRefusal
from fedge.nn.probes import Samples
from fedge.privacy.randomness import SEED_BYTES
from fedge.wire.messages.protection import Charges

log = logging.getLogger("fedge.aggregator")


class RoundJob:
    """At most one job is out, and only its result counts.

    Args:
        ledger: what is computed is saved there.
        close: begins to compute a round's model; its `Closed` comes back as an event.
        keep: bounds what is kept of older rounds.
        counters: counts the rounds that closed.
        samples: raw samples (n, d) on which each model must compute finite outputs, if there are some.
        began_s: when the open round began, in monotonic seconds.
        budget: pays for models with noise; None: there is none.
        entropy: makes secret random bytes, for the seeds of noise.
    """

    def __init__(
        self,
        ledger: Ledger,
        close: Callable[[ClosingJob], None],
        keep: StateSection,
        counters: Counters,
        samples: Samples | None,
        began_s: float,
        budget: PrivacyBudget | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._ledger, self._close, self._keep, self._counters = ledger, close, keep, counters
        self._samples = samples
        self._budget, self._entropy = budget, entropy
        self._began_s = began_s
        self._out: ClosingJob | None = None
        """The job whose result is awaited; the result of any other job is dropped."""

    def begin(self, state: Federation) -> None:
        """Hand out the job. Call it after the commit, so that any connection can read all that counts."""
        job = replace(job_of(state), samples=self._samples)
        if is_private(job.parts.rule) and phase_of(job.kind).trains:
            job = replace(job, noise=self._entropy(SEED_BYTES))
        self._out = job
        self._close(self._out)

    def end(self, state: Federation, closed: Closed, now_s: float) -> Event | None:
        """Save what was computed, inside the turn's transaction; None: this result is no longer awaited.

        Raises:
            StateError: the round's updates cannot be read.
        """
        job = closed.job
        if job is not self._out:
            return None
        self._out = None
        match closed.outcome:
            case Computed() as computed:
                computed = _beside(state, computed)
                phase = phase_of(job.kind)
                progress = phase.progress(state.progress, computed.summary)
                seconds = now_s - self._began_s
                save(self._ledger, job, computed, seconds, self._keep, progress, free(state, "key"))
                charges = self._charge(job, computed.inputs, computed.devices)
                summary = self._ledger.summary(job.round)
                self._began_s = now_s
                self._counters.closed(summary)
                if computed.task_data is not None:
                    log.info("round %s: %s", job.round, _advice(state, computed))
                return on.RoundClosed(
                    now_s,
                    job.round,
                    computed.task_blob,
                    computed.task,
                    computed.model,
                    progress,
                    computed.vector,
                    computed.clusters,
                    phase.usual(state.usual, summary),
                    form_of(self._ledger, job.round.generation),
                    charges,
                )
            case Unmade(inputs=str(inputs)) as nothing:
                charges = self._charge(job, inputs, state.admitted)
                return on.CloseFailed(now_s, job.round, str(nothing), charges)
            case Unmeasured() | Unmade() as nothing:
                return on.CloseFailed(now_s, job.round, str(nothing))
            case Unusable() as unusable:
                return on.MeanUnusable(now_s, job.round, unusable.devices, str(unusable))
            case error:
                raise error

    def _charge(self, job: ClosingJob, inputs: str | None, devices: int) -> Charges | None:
        """Pay for what was computed with noise; None: it has none.

        Raises:
            PrivacyRefusal: it must not be released.
        """
        if inputs is None:
            return None
        if self._budget is None:
            raise PrivacyRefusal(f"round {job.round}: there is no budget for its noise; nothing is released")
        return self._budget.charge(self._ledger, job.round, job.attempt, inputs, devices)


def _advice(state: Federation, computed: Computed) -> str:
    """The advice on the plan, from the sizes and classes that the survey found."""
    rows = [state.answers[device].samples for device in state.counted]
    sizes = Sizes.of(rows, computed.task.network.schema.size, computed.mix)
    return propose(sizes).against(state.plan)


def _beside(state: Federation, computed: Computed) -> Computed:
    """Put what is new beside what is announced now: that may have moved while this was computed."""
    task, model = state.task, computed.model
    if computed.task_data is not None and (slot := free(state, "task")) is not None:
        task = computed.task_blob.model_copy(update={"slot": slot})
    if computed.model_data is not None and (slot := free(state, "model")) is not None:
        model = model.model_copy(update={"slot": slot})
    elif computed.model_data is None and state.model is not None:
        model = state.model
    return replace(computed, task_blob=task, model=model)
