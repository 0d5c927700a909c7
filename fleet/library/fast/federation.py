"""The loop of the engine `fast`: production's state and rules, without frames, receipts and a ledger.

The state of the aggregator's core is the real one, and so are the functions that draw cohorts, announce and
admit, close rounds, and end learning. What is left out is what happens between an update and its admission,
and between a model and its storage. So a round is a few calls, and each device's work is one.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.config import AgentSettings
from agent.sources import Source
from aggregator.aggregation import server_state
from aggregator.aggregation.aggregate import Unmade, Unusable
from aggregator.aggregation.averaged import Averaged
from aggregator.aggregation.downlink import Before
from aggregator.aggregation.job import ClosingJob, Computed
from aggregator.aggregation.models import first_vectors
from aggregator.aggregation.outcome import job_of
from aggregator.aggregation.survey import Unmeasured
from aggregator.config import FederationSettings
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.announcement import announce
from aggregator.core.attempts import draw
from aggregator.core.federation import Federation, Stage
from aggregator.core.per_device import Devices, PerDevice
from aggregator.core.presence import LeaderCheck
from aggregator.core.quorum import updates_needed
from aggregator.core.round_end import round_closed
from aggregator.core.shared_entries import shared_by
from aggregator.core.takeover import TakeUp
from aggregator.core.updates import terms_of
from aggregator.core.verdicts import Verdict
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.views import RoundRow, round_row
from aggregator.ledger.writing import Ledger
from aggregator.phases import evaluate, survey, train
from aggregator.phases.phase import phase_of
from aggregator.shell.startup import take_up
from fedge.algorithms.contribution import order
from fedge.algorithms.protocols import WEIGHTS
from fedge.algorithms.registry import CODECS
from fedge.errors import ConfigError, FedgeError
from fedge.wire.capabilities import can
from fedge.wire.messages.manifest import Manifest
from fedge.wire.reasons import Reason
from fedge.wire.selection import chosen_of
from fleet.library.algorithm import Algorithm
from fleet.library.attackers import Attackers
from fleet.library.cores import ATTEMPTS, SETTLE_S
from fleet.library.course import Course
from fleet.library.fast.answers import Answers, measured
from fleet.library.fast.fleet import Fleet
from fleet.library.fast.kept import KeptPast, KeptUpdates
from fleet.library.fast.lies import Lies
from fleet.library.models import Model
from fleet.library.received import Form, Received
from fleet.library.results import Result, Stopped

log = logging.getLogger("fedge.aggregator")

Vector = NDArray[np.float32]


def run(
    federation: FederationSettings,
    devices: Sequence[tuple[AgentSettings, Source]],
    algorithm: Algorithm,
    workers: int | None,
    course: Course,
    folder: Path,
    attackers: Attackers,
) -> Result:
    """Run a federation.

    Args:
        federation: its settings.
        devices: settings and source of each.
        algorithm: its parts from outside are registered in each worker.
        workers: the number of processes that train; 1: this one; None: as many as there are processors.
        course: measures and tells of the rounds.
        folder: for what the processes share.
        attackers: whose updates are others than they have made.

    Raises:
        ConfigError: the parts cannot be sent to another process, there are several shared models, or which
            updates count depends on the order in which they arrive, as with the schedule `buffered`.
        FedgeError: a round cannot close, or a worker has ended.
    """
    if len(federation.parts().models) > 1:
        raise ConfigError(
            f'simulate: [personal] name = "{federation.personal.name}" has several shared models, which the '
            "engine fast does not have: set engine='cores'"
        )
    if federation.rounds.staleness is not None:
        raise ConfigError(
            f'simulate: [rounds] schedule = "{federation.rounds.schedule}" depends on how fast devices are, '
            "which the engine fast does not know: set engine='cores'"
        )
    given = {settings.device: (settings, source) for settings, source in devices}
    number = min(workers or _processors(), max(1, len(given)))
    with _fleet(Fleet(given, number, algorithm, federation.extensions, folder)) as fleet:
        run = _Run(_begun(federation, given), fleet, Lies(attackers), course, federation.rounds.deadline_s)
        stopped, why = run.to_its_end()
    return Result(run.model, tuple(run.history), tuple(course.curve), stopped, why, run.figures)


def _processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _fleet(fleet: Fleet) -> Iterator[Fleet]:
    try:
        yield fleet
    finally:
        fleet.close()


def _begun(federation: FederationSettings, devices: Mapping[str, object]) -> Federation:
    """The state of the core when it begins, with all devices online."""
    federation.state.folder.mkdir(parents=True)
    ledger = Ledger(federation.state.folder / LEDGER)
    try:
        abilities = PerDevice(dict.fromkeys(devices, can()))
        seen = LeaderCheck(0.0, online=Devices(devices), abilities=abilities)
        return draw(take_up(federation, ledger, bytes(16), TakeUp(seen)))[0]
    finally:
        ledger.close()


class _DoesNotClose(Exception):  # noqa: N818 (an outcome)
    """The open round has asked all whom it can ask, and does not close."""

    def __init__(self, *, diverged: bool, why: str) -> None:
        super().__init__(why)
        self.diverged, self.why = diverged, why


class _Run:
    """One federation's run to its end.

    Args:
        state: of the core; its first attempt is drawn.
        fleet: the devices.
        lies: of the attackers among them.
        course: measures and tells of the rounds.
        deadline_s: of an attempt, in virtual seconds.
    """

    def __init__(
        self, state: Federation, fleet: Fleet, lies: Lies, course: Course, deadline_s: float
    ) -> None:
        self._state, self._fleet, self._lies, self._course = state, fleet, lies, course
        self._devices = sorted(state.online, key=order)
        self._last = ceil((ATTEMPTS * deadline_s + SETTLE_S) / deadline_s) - 1
        """The number of a round's last attempt, for which the engine `cores` still waits."""
        self._past = KeptPast()
        self._made_by = 0
        self._form, self._received = Form(), Received()
        self.history: list[RoundRow] = []
        """The closed rounds."""
        self.figures: Mapping[str, Mapping[str, float]] = {}
        """What each device has told in the last of them."""

    @property
    def model(self) -> Model:
        """The newest model.

        Raises:
            FedgeError: there is none.
        """
        return self._model

    def to_its_end(self) -> tuple[Stopped, str]:
        """Run until learning is done or is stopped; return why, and what devices say of it.

        Raises:
            FedgeError: a round cannot close.
        """
        while self._state.stage is not Stage.DONE:
            begun_s, answers = time.monotonic(), Answers()
            try:
                job, computed = self._closed(answers)
            except _DoesNotClose as error:
                if error.diverged:
                    return "diverged", error.why
                raise FedgeError(f"round {self._state.round} does not close: {error.why}") from None
            if self._follow(job, computed, answers, time.monotonic() - begun_s):
                return "until", ""
        return "rounds", ""

    def _closed(self, answers: Answers) -> tuple[ClosingJob, Computed]:
        """Ask devices, attempt by attempt, until their updates make a model.

        Raises:
            _DoesNotClose: they do not.
        """
        while True:
            self._ask(answers)
            while self._state.admitted >= updates_needed(self._state):
                job = job_of(replace(self._state, stage=Stage.CLOSING))
                found = self._computed(job, answers)
                if isinstance(found, Computed):
                    return job, found
                if isinstance(found, Unusable):
                    self._set_aside(answers, found)
                else:
                    answers.failures["the updates"] = str(found)
                    self._state = replace(self._state, insufficient=self._state.counted, untried=0)
            everybody = self._state.cohorts[-1].fraction == 1
            if everybody or self._state.attempt >= self._last:
                trains = phase_of(self._state.kind).trains
                diverged = (
                    Reason.TRAINING_DIVERGED in answers.reasons and Reason.FAILED not in answers.reasons
                )
                diverged = trains and (diverged or bool(self._state.insufficient))
                raise _DoesNotClose(diverged=diverged, why=answers.why())
            self._state, _ = draw(self._state)

    def _ask(self, answers: Answers) -> None:
        """Let the devices work that the open attempt chooses and that have not answered."""
        state = self._state
        cohort = state.cohorts[-1]
        silent = (device for device in self._devices if device not in answers.outcomes)
        asked = chosen_of(cohort, *state.round, state.attempt, silent)
        for device in asked:
            answers.rows.setdefault(device, len(answers.rows))
        trains, terms = phase_of(state.kind).trains, terms_of(state)
        names = (WEIGHTS, *state.parts.sends) if trains else ()
        outcomes = self._fleet.work(
            _manifest(state),
            terms,
            {WEIGHTS: state.base, **self._past.further} if state.base is not None else {},
            names,
            {device: answers.rows[device] for device in asked},
            len(answers.rows),
        )
        answers.add(self._lies.told(terms, names, outcomes, answers.rows, self._fleet.updates))
        self._answered(answers)
        target, count = state.rules.target, self._state.admitted
        if target is not None and count > target:
            raise ConfigError(
                f"simulate: {count} updates came in round {state.round}, and [rounds] target = {target} "
                "closes it with the first that arrive; the engine fast has no network, so none is first: set "
                "a larger target, or engine='cores'"
            )

    def _answered(self, answers: Answers) -> None:
        verdicts = answers.verdicts()
        admitted = sum(verdict.verdict == "admitted" for verdict in verdicts.values())
        tried = self._state.insufficient
        untried = admitted - len(tried) if tried else 0
        self._state = replace(self._state, answers=PerDevice(verdicts), admitted=admitted, untried=untried)

    def _set_aside(self, answers: Answers, found: Unusable) -> None:
        for device in found.devices:
            one = answers.outcomes[device]
            detail = f"{found}; this update is a cause of that, so it does not count"
            answers.aside[device] = Verdict(
                b"", "refused", Reason.SET_ASIDE, detail, one.samples, dict(one.metrics)
            )
        log.error("round %s: %s: set aside: %s", self._state.round, found, ", ".join(found.devices))
        self._answered(answers)

    def _computed(self, job: ClosingJob, answers: Answers) -> Computed | Unusable | Unmade | Unmeasured:
        counted = {device: one for device, one in answers.verdicts().items() if one.verdict == "admitted"}
        self._past.job = job
        self._past.known |= counted.keys()
        if job.kind == survey.Survey.name:
            samples = sum(verdict.samples for verdict in counted.values())
            return survey.computed(job, measured(job, counted, answers.outcomes), samples)
        assert self._state.base is not None
        if job.kind == evaluate.Evaluate.name:
            return evaluate.computed(job, counted, self._made_by, self._state.base)
        updates = KeptUpdates(
            job.round,
            counted,
            answers.outcomes,
            answers.rows,
            (WEIGHTS, *job.parts.sends),
            self._fleet.updates,
            job.parts.codec.made(CODECS),
            self._state.base,
            shared_by(job.parts.personal, job.task.network),
        )
        result = train.combined(updates, self._past, job, self._state.base)
        if not isinstance(result, Averaged):
            return result
        # A part may hand on a vector of an update as it is, and the next round's overwrite the array.
        further = {name: np.array(vector) for name, vector in result.vectors.items()}
        result = replace(result, vector=np.array(result.vector), vectors=further)
        self._past.weights = self._state.base
        coding = train.coding_of(job, result, self._past)
        if coding is not None:
            further = {name: vector for name, vector in coding.vectors.items() if name != WEIGHTS}
        self._past.before = Before() if coding is None else Before(coding.errors, coding.key)
        self._past.further, self._past.devices = further, result.fleet
        self._past.running = {d: e.running for d, e in result.weighed.items() if e.running} | {
            d: n for d, n in self._past.running.items() if d not in counted
        }
        self._past.states = server_state.pack(result.state) if result.state else b""
        return train.computed(job, result, coding)

    def _follow(self, job: ClosingJob, computed: Computed, answers: Answers, seconds: float) -> bool:
        """Note a closed round and open the next; return whether to end here."""
        phase, round_id = phase_of(job.kind), job.round
        if job.kind == survey.Survey.name:
            self._past.further = first_vectors(job.parts.hands_on, len(computed.vector))
        up = sum(answers.outcomes[device].sent for device in self._state.counted)
        down = 0
        if job.model is not None:
            sizes = dict.fromkeys((WEIGHTS, *job.parts.hands_on), len(computed.vector))
            down = self._received.of_round(self._state.counted, round_id.round - 1, self._form, sizes)
        if phase.trains:
            coding = computed.coding
            key = coding.key if coding is not None else None
            number = None if key is None else key.round.round
            self._form = Form(coding.codec, number) if coding is not None else Form()
        summary = {**computed.summary, "bytes_up": up, "bytes_down": down}
        told = {**summary, "seconds": seconds, **computed.told}
        row = round_row(
            told, *round_id, job.kind, self._state.attempt, True, computed.devices, computed.samples
        )
        self.history.append(row)
        self.figures = {
            device: verdict.metrics
            for device, verdict in answers.verdicts().items()
            if verdict.verdict == "admitted"
        }
        for level, line in (*computed.before, *computed.after):
            log.log(level, "%s", line)
        if computed.model_data is not None:
            self._model = Model(computed.task, computed.vector, *round_id)
            self._made_by = computed.devices
        event = on.RoundClosed(
            0.0,
            round_id,
            computed.task_blob,
            computed.task,
            computed.model,
            phase.progress(self._state.progress, summary),
            computed.vector,
            usual=phase.usual(self._state.usual, summary),
        )
        self._state, _ = round_closed(replace(self._state, stage=Stage.CLOSING), event)
        if job.kind == evaluate.Evaluate.name:
            return False
        trained = phase.trains
        return self._course.closed(row, up if trained else 0, down if trained else 0, lambda: self._model)


def _manifest(state: Federation) -> Manifest:
    """The open attempt, as it is announced."""
    for effect in announce(state, 0.0):
        if isinstance(effect, do.PublishManifest):
            return effect.manifest
    raise AssertionError("an attempt is announced by its manifest")
