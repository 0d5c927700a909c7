"""One machine plays a whole federation: a broker, the aggregator and every device as a process of its own.

Nothing is simulated: the programs are the ones that run in the field, with files as their owners write them.
"""

import json
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent import held
from agent.config import AgentSettings
from agent.dataset import Dataset, fit
from agent.sources import open_source
from aggregator import export
from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.views import read_devices, read_rounds
from fedge.errors import ConfigError, FedgeError, StateError
from fedge.messages import Task
from fedge.plan import Plan
from fleet import baselines, broker, report, verification
from fleet.datasets import FederatedDataset, load_digits, load_watch
from fleet.outcome import Outcome
from fleet.processes import Program, spawn, stop
from fleet.progress import Display
from fleet.provision import Federation, provision

PLAN = Plan(epochs=5, batch_size=16, learning_rate=0.05, momentum=0.9)
DATASETS: Mapping[str, Callable[[int], FederatedDataset]] = {"watch": load_watch, "digits": load_digits}
MARK = ".fedge-demo"
"""The file that says a folder is ours to empty."""
REPORT = "report.html"
POLL_S = 0.2
DEADLINE_S = 60.0
STALL_S = 180.0
"""A round that takes three deadlines does not come to an end any more."""
FINAL_MODEL_S = 90.0
"""How long devices have to fetch the final model."""


@dataclass(frozen=True)
class Options:
    """What the caller chose."""

    out: Path
    dataset: str = "watch"
    devices: int = 20
    rounds: int = 60
    seed: int = 1
    broker: str = "auto"


def run(options: Options, display: Display) -> Outcome:
    """Let a fleet learn, measure what came out, and write the report.

    Raises:
        ConfigError: an option cannot be.
        FedgeError: a program ended too early (with the last lines of its log), or nothing moves any more.
    """
    started_s = time.monotonic()
    display.say("preparing")
    dataset = _load(options)
    folder = _empty(options.out)
    with broker.start(options.broker, folder / "broker") as bus:
        files = provision(
            folder,
            dataset,
            federation=_name(options, bus),
            broker_url=bus.url,
            plan=PLAN,
            rounds=options.rounds,
            seed=options.seed,
            deadline_s=DEADLINE_S,
        )
        settings = FederationSettings.load(files.settings)
        learning_s = time.monotonic()
        with _programs(files, folder / "logs") as (aggregator, agents):
            _follow(settings.state.folder / LEDGER, bus, aggregator, agents, options, display)
            display.say("final model")
            _await_final_model(files, settings.export.folder / export.MANIFEST, agents)
        learning_s = time.monotonic() - learning_s

    display.say("measuring")
    rows = read_rounds(settings.state.folder / LEDGER)
    task = settings.task()
    fleet = data_of(files, task)
    onnx = settings.export.folder / export.ONNX
    if not onnx.is_file():
        raise FedgeError(f"{onnx}: was withheld; {settings.export.folder / export.MANIFEST} says why")
    first_state = next(iter(files.agents.values())).parent / "state"
    checked = verification.check(onnx, first_state, *baselines.held_out(fleet))
    display.say("comparing")
    alone = baselines.alone(task, fleet, PLAN, options.rounds, options.seed)
    central = baselines.central(task, fleet, PLAN, options.rounds, options.seed)
    outcome = Outcome(
        title=dataset.title,
        dataset=dataset.name,
        broker=bus.name,
        seed=options.seed,
        devices=len(fleet),
        rows=tuple(rows),
        accuracy=float(checked.correct.mean()),
        accuracy_by_device=_by_device(fleet, checked.correct),
        alone=alone,
        accuracy_central=central,
        held_out=len(checked.correct),
        onnx_max_abs_diff=max(checked.max_abs_diff, _manifest_difference(settings.export.folder)),
        folder=folder,
        safetensors=settings.export.folder / export.SAFETENSORS,
        onnx=onnx,
        manifest=settings.export.folder / export.MANIFEST,
        report=folder / REPORT,
        seconds_learning=learning_s,
        seconds=time.monotonic() - started_s,
    )
    outcome.report.write_text(report.render(outcome), encoding="utf-8")
    return outcome


def _load(options: Options) -> FederatedDataset:
    if options.dataset not in DATASETS:
        raise ConfigError(f"--dataset {options.dataset}: expected {' or '.join(DATASETS)}")
    if options.dataset == "digits":
        return load_digits(options.devices, options.seed)
    return load_watch(options.devices)


def _empty(folder: Path) -> Path:
    """Make the folder, or empty the one that an earlier demo made; anybody else's is left alone."""
    try:
        if folder.exists() and any(folder.iterdir()):
            if not (folder / MARK).is_file():
                raise ConfigError(f"--out {folder}: is not empty and not from an earlier demo: name another")
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).touch()
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be used: {error.strerror or error}") from None
    return folder.resolve()


def _name(options: Options, bus: broker.Broker) -> str:
    """The federation's name; on a broker that outlives us no earlier demo may have had the same."""
    ours = isinstance(bus, broker.LocalBroker)
    return options.dataset if ours else f"{options.dataset}-{secrets.token_hex(4)}"


@contextmanager
def _programs(files: Federation, logs: Path) -> Iterator[tuple[Program, list[Program]]]:
    logs.mkdir()
    programs: list[Program] = []
    try:
        command = [sys.executable, "-m", "aggregator", "--config", str(files.settings), "--exit-when-done"]
        programs.append(spawn("the aggregator", command, logs / "aggregator.log"))
        for device, config in files.agents.items():
            command = [sys.executable, "-m", "agent", "--config", str(config)]
            programs.append(spawn(f"the agent of {device}", command, logs / f"{device}.log"))
        yield programs[0], programs[1:]
    finally:
        stop(programs)


def _follow(
    database: Path,
    bus: broker.Broker,
    aggregator: Program,
    agents: list[Program],
    options: Options,
    display: Display,
) -> None:
    """Return when the aggregator has ended well.

    Raises:
        FedgeError: it ended badly, another program ended at all, or no round has closed for a long time.
    """
    closed, moved_s = -1, time.monotonic()
    while aggregator.exit_code is None:
        bus.check()
        _check(agents)
        if database.exists():
            try:
                rows = read_rounds(database)
                online = sum(device.online for device in read_devices(database))
            except StateError:  # it exists, and is not yet made
                rows, online = [], 0
            display.show(rows, online)
            if (count := sum(row.closed for row in rows)) != closed:
                closed, moved_s = count, time.monotonic()
        if time.monotonic() - moved_s > STALL_S:
            raise FedgeError(
                f"no round has closed for {STALL_S:.0f} s; "
                f"the last lines of {aggregator.log}:\n{aggregator.tail()}"
            )
        time.sleep(POLL_S)
    if aggregator.exit_code != 0:
        raise aggregator.died()
    display.show(read_rounds(database), len(agents))


def _check(agents: list[Program]) -> None:
    for agent in agents:
        if agent.exit_code is not None:
            raise agent.died()


def _await_final_model(files: Federation, manifest: Path, agents: list[Program]) -> None:
    """Return when every device holds the model that was exported."""
    wanted = json.loads(manifest.read_text(encoding="utf-8"))["model"]
    deadline_s = time.monotonic() + FINAL_MODEL_S
    waiting = {device: config.parent / "state" / held.FILE for device, config in files.agents.items()}
    while waiting:
        _check(agents)
        for device, path in list(waiting.items()):
            model = held.read(path)
            if model is not None and model.model_digest.hex() == wanted:
                del waiting[device]
        if waiting and time.monotonic() > deadline_s:
            raise FedgeError(
                f"after {FINAL_MODEL_S:.0f} s these do not hold the final model: {', '.join(waiting)}"
            )
        time.sleep(POLL_S if waiting else 0)


def data_of(files: Federation, task: Task) -> dict[str, Dataset]:
    """What each agent trained on and held out, read the way it reads it."""
    found = {}
    for device, config in files.agents.items():
        settings = AgentSettings.load(config)
        found[device] = fit(open_source(settings.data).read(), task, settings.data)
    return found


def _by_device(fleet: Mapping[str, Dataset], correct: NDArray[np.bool_]) -> dict[str, float]:
    ends = np.cumsum([len(data.held_y) for data in fleet.values()])[:-1]
    return {device: float(part.mean()) for device, part in zip(fleet, np.split(correct, ends), strict=True)}


def _manifest_difference(folder: Path) -> float:
    """The aggregator's own finding, on random samples."""
    found = json.loads((folder / export.MANIFEST).read_text(encoding="utf-8"))
    return float(found["onnx_max_abs_diff"])
