"""The runs of `benchmarks.bytes_to_accuracy`: simulated fleets, whose messages are real ones and are counted.

With the engine `cores` of `fedge.simulate` production's agents encode each update, pack it and cut it into
frames, and production's aggregator puts it together and decodes it. Bytes up are those of the packed frames
of the updates that counted, of as many messages of the round's mean length. Bytes down are what these devices
received, as they tell it: topics and payloads of the announcement, the task, the frames of the model and the
receipts. MQTT's own headers are in neither.

The engine `fast` encodes and decodes each update and each model too, and makes the same models to the bit in
less time, but packs no messages. So two devices with the same network and codec learn two rounds with
`cores`, and what their messages have besides the encoded vectors is added to those of each device that takes
part in a round. So the models are not counted that a device fetches at most once an hour without being drawn.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.kept_runs import KeptRuns
from benchmarks.mnist import archives
from fedge.errors import ConfigError
from fedge.wire.frames import split
from fedge.wire.messages.task import Task
from fleet.library.results import Progress
from fleet.library.simulation import simulate
from fleet.study.deal import Table
from fleet.study.runs import plan_of, task_of
from fleet.study.settings import StudySettings

PLAIN = "float32"
PROBED_ROUNDS = 2


@dataclass(frozen=True)
class Composition:
    """How vectors become bytes."""

    name: str
    plan: Mapping[str, Any]
    """The keys of `[plan]` that say it."""
    models_of: str | None = None
    """A composition whose models are the same to the bit, and that has been run. Then only two rounds are
    run, to see the bytes of an update, which all have one length."""


@dataclass(frozen=True)
class Fleet:
    """Devices, their rows, and how they learn."""

    name: str
    study: Mapping[str, Any]
    """The tables of a study, but for the algorithms."""
    rate: float
    target: float
    """The accuracy on the test rows that is to be reached."""
    rounds: int
    """All runs have as many, so that their last figures can be compared."""
    engine: Literal["cores", "fast"] = "cores"

    def settings(self) -> StudySettings:
        """As a study: it says how rows are dealt, and which network learns."""
        section = {"name": "bytes", "rounds": self.rounds, "rates": [self.rate]}
        return StudySettings.model_validate({**self.study, "study": section, "algorithm": [{"name": PLAIN}]})


@dataclass(frozen=True)
class Run:
    """A finished run."""

    fleet: str
    composition: str
    seed: int
    devices: int
    """Of the fleet."""
    weights: int
    """p, the weights of the model."""
    accuracy: tuple[float, ...]
    """On the test rows, after each round."""
    up: tuple[int, ...]
    """Bytes of the updates that counted, in each round."""
    down: tuple[int, ...]
    """Bytes that these devices received, in each round."""
    updates: tuple[int, ...]
    """How many counted, in each round."""
    settings: str
    """A digest of the settings."""
    cpu_s: float = field(compare=False)
    """Seconds of the processor."""

    @property
    def key(self) -> tuple[str, str, int]:
        return self.fleet, self.composition, self.seed

    @property
    def update_bytes(self) -> float:
        """The mean bytes of an update."""
        return sum(self.up) / sum(self.updates)

    @property
    def received_bytes(self) -> float:
        """The mean bytes that a device of a cohort received, for one update."""
        return sum(self.down) / sum(self.updates)


@dataclass(frozen=True)
class Job:
    """A run that is wanted."""

    fleet: Fleet
    composition: Composition
    seed: int

    @property
    def key(self) -> tuple[str, str, int]:
        return self.fleet.name, self.composition.name, self.seed

    @property
    def settings(self) -> str:
        """A digest of all but the seed."""
        told = [self.fleet.study, self.fleet.rate, self.fleet.rounds, self.composition.plan]
        return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def mnist(split: str, rate: float, rounds: int, target: float) -> Fleet:
    """MNIST on 100 devices, a tenth of them in each round (McMahan et al. 2017, section 3)."""
    training, test = archives()
    layers = [kind for _ in range(2) for kind in ({"type": "dense", "units": 200}, {"type": "relu"})]
    study = {
        "data": {"dataset": str(training), "test": str(test), "split": {"by": split, "devices": 100}},
        "model": {"layers": layers, "clip": 1.0},
        "plan": {"epochs": 5, "batch_size": 10},
        "rounds": {"fraction": 0.1},
    }
    return Fleet(f"MNIST, {split}", study, rate, target, rounds, "fast")


def watch(rounds: int, target: float) -> Fleet:
    """The smart watches of the demo, with its network and plan; all twenty devices are in each round."""
    study = {
        "data": {"dataset": "watch", "split": {"by": "column"}},
        "model": {"layers": [{"type": "dense", "units": 32}, {"type": "relu"}]},
        "plan": {"epochs": 5, "batch_size": 16, "momentum": 0.9},
    }
    return Fleet("watch", study, 0.05, target, rounds)


def digits(split: str, rounds: int, target: float) -> Fleet:
    """scikit-learn's digits on 20 devices, half of them in each round."""
    study = {
        "data": {"dataset": "digits", "split": {"by": split, "devices": 20}},
        "model": {"layers": [{"type": "dense", "units": 200}, {"type": "relu"}]},
        "plan": {"epochs": 2, "batch_size": 10},
        "rounds": {"fraction": 0.5},
    }
    return Fleet(f"digits, {split}", study, 0.1, target, rounds)


def run(job: Job, rounds: int | None = None) -> Run:
    """Simulate a fleet; `rounds` instead of its own."""
    begun_s = time.process_time()
    settings = job.fleet.settings()
    table = Table(settings.data)
    deal = table.deal(job.seed)
    task = task_of(settings, table.rows)
    up, down = (0.0, 0.0) if job.fleet.engine == "cores" else _besides(job, task)
    told: list[Progress] = []
    found = simulate(
        task,
        deal.devices,
        rounds=rounds or job.fleet.rounds,
        seed=job.seed,
        holdout=0.0,
        settings=_tables(job),
        test=deal.test,
        progress=told.append,
        engine=job.fleet.engine,
        workers=1 if job.fleet.engine == "fast" else None,
    )
    if found.stopped != "rounds":
        raise ConfigError(f"{job.key}: {found.stopped}: {found.why}; choose a smaller rate")
    points = [one.point for one in told]
    rows = [one.row for one in told]
    return Run(
        *job.key,
        len(deal.devices),
        found.model.weights.size,
        tuple(float(point.accuracy) for point in points if point is not None and point.accuracy is not None),
        tuple(row.devices * framed(row.bytes_up / row.devices + up) for row in rows),
        tuple(row.bytes_down + round(down * row.devices) for row in rows),
        tuple(row.devices for row in rows),
        job.settings,
        time.process_time() - begun_s,
    )


def framed(size: float) -> int:
    """The bytes of the packed frames of a message of so many bytes."""
    return sum(map(len, split(bytes(round(size)))))


def _tables(job: Job) -> dict[str, dict[str, Any]]:
    """The tables of `federation.toml`."""
    settings = job.fleet.settings()
    _, tables = plan_of(settings, settings.algorithm[0], job.fleet.rate)
    return {**tables, "plan": {**tables["plan"], **job.composition.plan}}


BESIDES: dict[str, tuple[float, float]] = {}
"""What `_besides` has found, by the digest of the settings."""


def _besides(job: Job, task: Task) -> tuple[float, float]:
    """The bytes of an update besides its vectors, and those that a device receives besides the model's."""
    if job.settings not in BESIDES:
        BESIDES[job.settings] = _probed(job, task)
    return BESIDES[job.settings]


def _probed(job: Job, task: Task) -> tuple[float, float]:
    """As `_besides`: of the second round of two devices, each of which has all classes."""
    classes = len(task.classes or ())
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3 * classes, len(task.features or ()))).astype(np.float32)
    y = np.arange(len(X)) % classes
    tables = _tables(job)
    told: list[Progress] = []
    simulate(
        task,
        {"d001": (X, y), "d002": (X[::-1], y[::-1])},
        rounds=PROBED_ROUNDS,
        holdout=0.0,
        settings={**tables, "rounds": {**tables["rounds"], "fraction": 1.0}},
        test=(X, y),
        progress=told.append,
    )
    first, second = (one.point for one in told if one.point is not None)
    row = told[-1].row
    up, down = second.bytes_up - first.bytes_up, second.bytes_down - first.bytes_down
    return (row.bytes_up - up) / row.devices, (row.bytes_down - down) / row.devices


def of_equal_models(probed: Run, whole: Run) -> Run:
    """The run of which the first round is `probed`, and whose models are those of another run.

    Raises:
        ConfigError: the first models differ.
    """
    first = len(probed.accuracy)
    if probed.accuracy != whole.accuracy[:first] or probed.updates != whole.updates[:first]:
        raise ConfigError(
            f"{probed.composition} and {whole.composition} give different models; run each of them whole"
        )
    up = tuple(round(probed.update_bytes * count) for count in whole.updates)
    return replace(whole, composition=probed.composition, up=up, settings=probed.settings, cpu_s=probed.cpu_s)


class Kept(KeptRuns[Run]):
    """The finished runs in a file.

    Args:
        path: the file; None: they are not kept on disk.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__(path, Run)


def run_all(jobs: Sequence[Job], kept: Kept, processes: int) -> None:
    """Run what is missing, and keep each run as soon as it is done."""
    missing = [job for job in jobs if not kept.has(job)]
    whole = [job for job in missing if job.composition.models_of is None]
    for found in _found(whole, None, processes):
        kept.add(found)
    probes = [job for job in missing if job.composition.models_of is not None]
    for probed in _found(probes, PROBED_ROUNDS, processes):
        models = next(job.composition.models_of for job in probes if job.key[:2] == _of(probed))
        assert models is not None
        kept.add(of_equal_models(probed, kept.runs[probed.fleet, models, probed.seed]))


def _of(found: Run) -> tuple[str, str]:
    return found.fleet, found.composition


def _found(jobs: Sequence[Job], rounds: int | None, processes: int) -> Iterator[Run]:
    if processes == 1 or len(jobs) < 2:
        for job in jobs:
            yield _told(_quietly(job, rounds))
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_quietly, job, rounds) for job in jobs]):
            yield _told(future.result())


def _quietly(job: Job, rounds: int | None) -> Run:
    logging.basicConfig(level=logging.ERROR)  # that devices have few labels is no news
    return run(job, rounds)


def _told(found: Run) -> Run:
    print(
        f"{found.fleet}: {found.composition}: seed {found.seed}: {len(found.accuracy)} rounds, "
        f"{found.accuracy[-1]:.4f}, {found.update_bytes:,.0f} bytes an update, {found.cpu_s:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return found
