"""The trainers of virtual devices: a stand-in that makes recognisable vectors, or production's SGD."""

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from agent.config import AgentSettings
from agent.core.events import Done, Failed
from agent.core.state import AlgorithmState, PersonalState
from agent.sources import open_sources
from agent.trainers import states
from agent.trainers.assignment import Assignment
from agent.trainers.states import pack as pack_state
from agent.trainers.worker import Worker
from fedge.data.moments import Moments
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from fleet.simulator.local_twins import Work
from fleet.simulator.oracle import Made
from fleet.simulator.oracle.states import COUNTED, counted, mark
from fleet.simulator.updates import update

MODEST = 0.6
"""The highest accuracy that an honest stand-in reports."""


@dataclass(frozen=True)
class Bench:
    """The parts of its host and of the world that a trainer uses."""

    device: str
    now_s: Callable[[], float]
    later: Callable[[Callable[[], None]], None]
    """Call a function when the training time is over, if the host still runs then."""
    post: Callable[[Done | Failed], None]
    begun: Callable[[Assignment], None]
    made: Callable[[bytes, Made], None]
    willing: Callable[[], bool]
    tries: Callable[[], int]
    """Count the trainings across restarts: a repeated one has another result, as with growing data."""
    learnt: Callable[[Assignment, Update, AlgorithmState | None, Work, PersonalState | None], None]
    """Called with what the local algorithm made, if there is one, and with the device's own model."""


Odd = Literal["", "many samples", "far away", "as large as can be"]
"""What is unusual about a device: it reports a thousand times the samples, it is sixteen times as far from
its base as others, or it sends the largest weights with very many samples in the first training round."""


def lineage_of(manifest: Manifest) -> bytes:
    """The lineage of a virtual device's states: only states of the same lineage are continued."""
    assert manifest.plan is not None
    return states.lineage_of(manifest, manifest.plan, "")


class StandIn:
    """Makes a vector from device, round, model and try without training, so that no two vectors are equal.

    The entries are whole numbers below 2^20 and n_k is below 1,000, so that a float64 sum is exact and a
    float32 sum is not. An odd device's numbers are larger.
    """

    def __init__(self, bench: Bench, number: int, odd: Odd = "", *, stateful: bool = False) -> None:
        self._bench, self._number, self._odd, self._stateful = bench, number, odd, stateful
        self._job: Assignment | None = None

    def start(self, job: Assignment) -> None:
        """As `Worker.start`."""
        self._job = job
        self._bench.begun(job)
        self._bench.later(lambda: self._finish(job))

    def cancel(self) -> None:
        """As `Worker.cancel`."""
        if self._job is not None:
            self._job.cancelled.set()

    def outcome(self, job: Assignment) -> Survey | Update | Failed | None:
        """Return the result of a job; None: it was cancelled."""
        if job.cancelled.is_set():
            return None
        manifest, here = job.manifest, round_of(job.manifest)
        if not self._bench.willing():
            return Failed(here, Reason.BAD_DATA, "the sensor is away")
        tries = self._bench.tries()
        samples = 20 + (self._number * 131 + manifest.round * 17 + tries) % 900
        if self._odd == "many samples" or (self._odd == "as large as can be" and manifest.round == 1):
            samples *= 1_000
        if manifest.kind == "survey":
            count, mean = np.array([float(samples)]), np.array([float(self._number)])
            return Survey(
                generation=here.generation,
                round=here.round,
                base=manifest.task.digest,
                device=self._bench.device,
                samples=samples,
                features=Moments(count, mean, count).to_bytes(),
                metrics=job.traffic,
            )
        assert manifest.model is not None
        assert job.weights is not None
        if manifest.kind == "evaluate":
            told = {**self._held_out(here, samples), **job.traffic}
            return update(here, manifest.model.digest, self._bench.device, samples, None, told)
        seen = zlib.crc32(manifest.model.digest) % 2**20
        marks = (self._number * 99_991, here.round * 77_773, seen, tries * 55_541)
        vector = np.array([mark % 2**20 for mark in marks], np.float32)
        if self._odd == "far away":
            vector *= 16
        if self._odd == "as large as can be" and here.round == 1:
            vector[:] = 3e38
        told = {
            "loss_before": 2.0 / here.round,
            "loss_after": 1.0 / here.round,
            **self._held_out(here, samples),
            **job.traffic,
        }
        return update(here, manifest.model.digest, self._bench.device, samples, vector, told)

    def _held_out(self, here: RoundId, samples: int) -> dict[str, float]:
        """The figures of a round's model on held-out samples; the best model is not the last."""
        return {
            "accuracy_before": MODEST - self._number / 100,
            "held_loss_before": 1.0 + abs(here.round - 3) + self._number / 10,
            "rmse_before": 5.0 + self._number,
            "mae_before": 3.0 + self._number,
            "held_out": float(samples // 4),
        }

    def _finish(self, job: Assignment) -> None:
        outcome = self.outcome(job)
        if isinstance(outcome, Failed):
            self._bench.post(outcome)
        elif outcome is not None:
            payload = pack(outcome)
            digest = hashlib.sha256(payload).digest()
            here = RoundId(outcome.generation, outcome.round)
            self._bench.made(digest, Made(self._bench.device, here, outcome))
            pending = self._pending(job, here, digest) if self._stateful else None
            done = Done(self._bench.now_s(), here, digest, payload, outcome.samples, pending=pending)
            self._bench.post(replace(done, personal=self._own()))

    def _own(self) -> PersonalState | None:
        """What the device keeps of its own model; None: it has none."""
        return None

    def _pending(self, job: Assignment, here: RoundId, digest: bytes) -> AlgorithmState | None:
        """The state if this update counts: the updates that counted so far, and this one."""
        if job.manifest.kind != "train":
            return None
        lineage = lineage_of(job.manifest)
        marks = [*counted(job.state, lineage), mark(digest)]
        return AlgorithmState(here, lineage, pack_state({COUNTED: np.array(marks, np.int64)}))


class RealTrainer(StandIn):
    """Trains on real data with real SGD, in no virtual time, and without parts that read the real clock."""

    def __init__(self, bench: Bench, number: int, settings: AgentSettings) -> None:
        super().__init__(bench, number)
        self._trainer = Worker(settings, open_sources(settings), lambda _: None)

    def outcome(self, job: Assignment) -> Survey | Update | Failed | None:
        """Train as production does."""
        if not self._bench.willing():
            return super().outcome(job)
        done = self._trainer.work(job)
        if not isinstance(done, Done):
            return done
        if job.manifest.kind == "survey":
            return unpack(done.payload, Survey, max_bytes=len(done.payload))
        message = unpack(done.payload, Update, max_bytes=len(done.payload))
        metrics = {name: value for name, value in message.metrics.items() if name != "seconds"}
        return message.model_copy(update={"metrics": metrics})
