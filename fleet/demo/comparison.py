"""Compare a fleet's model with the devices alone, and with all data in one place."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.data.dataset import Dataset
from agent.shell import model_file
from aggregator.config import FederationSettings
from aggregator.export.manifest import MANIFEST, ONNX, SAFETENSORS
from aggregator.ledger.layout import FILE as LEDGER
from fedge.algorithms.plan import Plan
from fedge.algorithms.trainer import never
from fedge.wire.messages.task import Task
from fleet.demo import baselines, history, learning, own_models, scoring, verification
from fleet.demo.baselines import Alone, Predicted
from fleet.demo.figure import Figure, figure_of
from fleet.demo.history import RoundScores
from fleet.demo.learning import Learnt
from fleet.demo.outcome import Outcome
from fleet.demo.own_models import OwnModels
from fleet.demo.progress import Display
from fleet.demo.provision import Federation
from fleet.demo.scoring import ClassRow

REPORT = "report.html"


@dataclass(frozen=True, eq=False)
class Compared:
    """Answers to the held-out parts of all devices, one after the other in the order of `fleet`."""

    task: Task
    """The task, with the layers that the survey has fixed."""
    fleet: Mapping[str, Dataset]
    """The training and held-out parts of each device; missing values are filled as its owner chose."""
    truth: NDArray[Any]
    """Class indices of shape (h,), or targets of shape (h, t)."""
    together: NDArray[Any]
    """Outputs of the exported ONNX file, by onnxruntime, of shape (h, k)."""
    central: Predicted
    """Outputs of a model that was trained in one place, of shape (h, k)."""
    alone: tuple[Alone, ...]
    max_abs_diff: float
    """The largest difference between ONNX and the device's own forward pass, on these and on the aggregator's
    samples."""
    own: OwnModels | None = None
    """The devices' figures of their own models; None: they do not compare."""
    history: Sequence[RoundScores] = ()
    """The model after each round whose model the ledger keeps, oldest first."""

    @property
    def figure(self) -> Figure:
        """The figure of the comparison."""
        return figure_of(self.task)

    def by_device(self, outputs: NDArray[Any]) -> dict[str, float]:
        """The figure of each device's held-out part; NaN where it holds nothing out."""
        ends = np.cumsum([len(data.held_y) for data in self.fleet.values()])[:-1]
        parts = np.split(outputs, ends)
        return {
            device: self.figure.of(part, data.held_y)
            for (device, data), part in zip(self.fleet.items(), parts, strict=True)
        }

    def by_class(self) -> tuple[ClassRow, ...]:
        """The shared model class by class; empty for a regression."""
        if not self.task.classes:
            return ()
        return scoring.by_class(
            self.task.classes,
            {device: data.y for device, data in self.fleet.items()},
            {device: data.held_y for device, data in self.fleet.items()},
            self.together.argmax(axis=1),
        )


def compare(
    files: Federation,
    plan: Plan,
    rounds: int,
    seed: int,
    display: Display,
    enough: Callable[[], bool] = never,
    *,
    best: bool = False,
) -> Compared:
    """Measure the exported model, and train the two baselines.

    Args:
        files: the files of a federation that has ended.
        plan: the federation's plan.
        rounds: the number of its training rounds.
        seed: determines the first weights, and the order of samples.
        display: shows the progress.
        enough: if it returns True, the training of baselines ends; each trains at least one round.
        best: compare with the best model of their rounds, else with the last one.

    Raises:
        DataError: a column has no values.
    """
    display.say("measuring")
    settings = FederationSettings.load(files.settings)
    first_state = next(iter(files.agents.values())).parent / "state"
    task, _ = model_file.load(first_state / model_file.FILE)
    fleet = learning.data_of(files, task)
    X, y = baselines.held_out(fleet)
    folder = settings.export.folder
    together = verification.answers(folder / ONNX, X)
    difference = verification.check(learning.newest_in(folder) / ONNX, first_state, X)
    rounds_scored = history.history(settings.state.folder / LEDGER, task, X, y)
    display.say("comparing")
    bare = settings.task()
    central = baselines.predict(bare, fleet, plan, rounds, seed, X, enough, (X, y) if best else None)
    alone = baselines.alone(bare, fleet, plan, rounds, seed, enough, best=best)
    difference = max(difference, learning.exported(folder)[1])
    own = own_models.read(settings.state.folder / LEDGER, plan.personal_name, alone) if plan.compare else None
    return Compared(task, fleet, y, together, central, alone, difference, own, rounds_scored)


def outcome_of(
    compared: Compared,
    learnt: Learnt,
    files: Federation,
    *,
    title: str,
    dataset: str,
    broker: str,
    seed: int,
    started_s: float,
) -> Outcome:
    """The data of the report on a federation; `started_s` is the monotonic time at which the run began."""
    folder = files.settings.parent
    exported = FederationSettings.load(files.settings).export.folder
    figure, last = compared.figure, compared.task.network.last
    return Outcome(
        title=title,
        dataset=dataset,
        broker=broker,
        seed=seed,
        devices=len(compared.fleet),
        rows=learnt.rows,
        figure=figure,
        chosen=learning.exported(exported)[0],
        together=figure.of(compared.together, compared.truth),
        together_by_device=compared.by_device(compared.together),
        alone=compared.alone,
        central=figure.of(compared.central.outputs, compared.truth),
        held_out=len(compared.truth),
        onnx_max_abs_diff=compared.max_abs_diff,
        folder=folder,
        safetensors=exported / SAFETENSORS,
        onnx=exported / ONNX,
        manifest=exported / MANIFEST,
        report=folder / REPORT,
        seconds_learning=learnt.seconds,
        seconds=time.monotonic() - started_s,
        target_scale=1.0 if last is None else float(last.scales[0]),
        own=compared.own,
        measured={one.round: one.value for one in compared.history},
    )
