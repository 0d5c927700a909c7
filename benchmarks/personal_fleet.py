"""A fleet with personal models in one process, without messages, broker and ledger.

Each device does what production's phases do (`agent.phases`), with the rows that `agent.data.dataset` gives
it. The survey, the bounds on updates and the mean are production's functions too. So the shared model and the
devices' figures are those of `fedge.simulate`, to the bit (`tests/test_personal_benchmark.py`), in less
time.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from agent.config import AgentSettings
from agent.core.state import PersonalState
from agent.data.dataset import Dataset, fit
from agent.data.snapshot import current
from agent.phases.phase import Equipment, phase_of
from agent.settings.data import DataSettings
from agent.sources.caller_sources import GivenArrays
from agent.sources.samples import Samples
from agent.trainers.assignment import Assignment
from agent.trainers.built_in import BuiltIn
from agent.trainers.choice import chooses
from aggregator.aggregation import survey
from aggregator.aggregation.survey import Measured, Unmeasured, standardize
from aggregator.core.parts import Part
from aggregator.core.shared_entries import completed, sent_entries, shared_by
from fedge.algorithms.codecs.seeds import vector_seed
from fedge.algorithms.contribution import LANES, Contribution, order
from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import WEIGHTS
from fedge.algorithms.registry import CODECS, PERSONAL
from fedge.algorithms.rules.bounds import Factors, bounds, clipped, distance
from fedge.algorithms.rules.mean import Mean
from fedge.algorithms.trainer import never
from fedge.data.moments import FEWEST, withhold
from fedge.errors import DataError
from fedge.nn import Network, first_weights
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import pack
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update

Array = NDArray[Any]
Rows = tuple[Any, ...]
"""(X, y) or (X, y, series) of a device, as `fedge.simulate` takes them."""
GENERATION, CLIP = 1, 20.0
NO_BLOB = Blob(digest=bytes(32), size=1, frames=1, slot=0)


@dataclass
class Fleet:
    """Devices with their rows, and the task that their survey makes."""

    task: Task
    """With the layers that the survey has fixed."""
    bare: Task
    """Without them."""
    samples: Mapping[str, Samples]
    data: DataSettings


@dataclass(frozen=True, eq=False)
class Learnt:
    """The result of a federation."""

    network: Network
    models: Mapping[str, Array]
    """The shared model's vectors after the last round, each of shape (p,)."""
    figures: Sequence[Mapping[str, Mapping[str, float]]]
    """By round, the last of which only measures, and by device: the metrics of its update."""
    beside: Sequence[Mapping[str, Mapping[str, float]]]
    """By plan of `beside`, and by device: the metrics of the last round with that plan instead."""
    bytes_up: int
    """Of all updates, as they are packed."""
    bytes_down: int
    """Of the vectors of the model, for each device and round."""


@dataclass
class _Round:
    """The updates of a round as a rule sees them (`fedge.algorithms.protocols.Updates`)."""

    size: int
    contributions: Sequence[Contribution]

    def __len__(self) -> int:
        return len(self.contributions)

    def lanes(self, lanes: range = LANES) -> Iterator[Contribution]:
        """All of them; there is one aggregator."""
        assert lanes == LANES
        return iter(self.contributions)


def fleet_of(bare: Task, devices: Mapping[str, Rows], holdout: float, gap: int) -> Fleet:
    """Read the devices' rows, and survey them.

    Args:
        bare: the task without the layers that the survey adds.
        devices: the rows of each.
        holdout: the share of each series that is kept for evaluation: its last rows.
        gap: the rows that are dropped between the parts.

    Raises:
        DataError: a column has no values.
    """
    data = DataSettings(holdout=holdout, gap=gap)
    samples = {name: GivenArrays("data", *rows).read() for name, rows in devices.items()}
    surveys = {
        name: Measured(withhold(current(None, found, data).tell(bare)[0], FEWEST), None)
        for name, found in samples.items()
    }
    found = standardize(bare, surveys, survey.EXACT, CLIP)
    if isinstance(found, Unmeasured):
        raise DataError(str(found))
    return Fleet(found, bare, samples, data)


@dataclass
class _Device:
    settings: AgentSettings
    dataset: Dataset
    network: Network
    kept: PersonalState | None = field(default=None)

    def answer(self, manifest: Manifest, task: Task, models: Mapping[str, Array]) -> Update:
        """Do a round's work; keep what the device keeps."""
        more = {name: vector for name, vector in models.items() if name != WEIGHTS}
        given = Assignment(manifest, task, models[WEIGHTS], {}, more, personal=self.kept)
        began_s = time.monotonic()
        equipment = Equipment(
            self.settings,
            BuiltIn(),
            self.dataset,
            None,
            None,
            lambda: self.network,
            lambda: time.monotonic() - began_s,
        )
        found = phase_of(manifest.kind).contribute(given, equipment, never)
        if found.personal is not None:
            self.kept = found.personal
        assert isinstance(found.message, Update)
        return found.message


def learn(fleet: Fleet, plan: Plan, rounds: int, seed: int, beside: Sequence[Plan] = ()) -> Learnt:
    """Let the fleet learn, all devices in each round, and measure the last model.

    Personal models that are made of the last shared model alone, such as `finetune`, need no federation of
    their own: plans with the same shared model may stand `beside` the first.

    Args:
        fleet: the devices.
        plan: the plan, with a personal model, `compare`, or neither.
        rounds: of training.
        seed: of the federation.
        beside: plans that differ in their personal model, which has no state, has a part to choose by if that
            of `plan` has, and leaves the shared model as it is.
    """
    network = Network(fleet.task.network)
    size = network.schema.size
    devices = {
        name: _Device(
            _settings(name),
            fit(samples, fleet.task, fleet.data, chooses=chooses(plan)),
            network,
        )
        for name, samples in fleet.samples.items()
    }
    codec = CODECS.make(plan.codec, plan.codec_options)
    personal = Part.of(PERSONAL, plan.personal_name, plan.personal_options)
    mask = shared_by(personal, fleet.task.network)
    count = personal.made(PERSONAL).models
    names = (WEIGHTS, *(f"cluster_{j}" for j in range(1, count)))
    models = {name: first_weights(fleet.task.network, seed + j, GENERATION) for j, name in enumerate(names)}
    figures, others, up, down = [], [], 0, 0
    for number in range(1, rounds + 2):
        kind = "train" if number <= rounds else "evaluate"
        manifest = Manifest(
            generation=GENERATION,
            round=number,
            kind=kind,
            state="open",
            seed=seed,
            task=NO_BLOB,
            model=NO_BLOB,
            plan=plan,
            cohort=Cohort(seed=0, fraction=1.0),
            seconds_left=60.0,
        )
        updates = [devices[name].answer(manifest, fleet.task, models) for name in sorted(devices, key=order)]
        figures.append({update.device: update.metrics for update in updates})
        up += sum(len(pack(update)) for update in updates)
        down += len(devices) * 4 * size * len(names)
        if kind == "evaluate":
            others = [
                {
                    name: device.answer(
                        manifest.model_copy(update={"plan": other}), fleet.task, models
                    ).metrics
                    for name, device in devices.items()
                }
                for other in beside
            ]
            break
        for j, name in enumerate(names):
            base = models[name]
            mine = [u for u in updates if (getattr(u, "cluster", 0) or 0) == j]
            entries = sent_entries(mask, size)
            seeds = [vector_seed(seed, GENERATION, number, u.device, WEIGHTS) for u in mine]
            vectors = [
                completed(mask, codec, codec.decode(u.body, entries, its), base)
                for u, its in zip(mine, seeds, strict=True)
            ]
            if mine:
                models[name] = _mean(base, mine, vectors)
    return Learnt(network, models, figures, others, up, down)


def _mean(base: Array, updates: Sequence[Update], vectors: Sequence[Array]) -> Array:
    """The mean of the bounded updates."""
    found = bounds([distance(base, vector) for vector in vectors], [u.samples for u in updates], Factors())
    contributions = [
        Contribution(update.device, weight, clipped(base, vector, scale), update.steps)
        for update, vector, scale, weight in zip(updates, vectors, found.scales, found.weights, strict=True)
    ]
    return Mean().aggregate(_Round(len(base), contributions), base, {}).vector


def _settings(name: str) -> AgentSettings:
    return AgentSettings.model_validate(
        {
            "federation": "benchmark",
            "device": name,
            "data": {"source": "python", "callable": "given:arrays"},
            "state": {"folder": Path("unused")},
        }
    )
