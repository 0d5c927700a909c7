"""Run a whole federation on this machine until it is done: the aggregator and the devices as processes.

Nothing is simulated: these are the programs that run in the field, with files as their owners write them.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agent.config import AgentSettings
from agent.data.dataset import Dataset, fit
from agent.shell import model_file
from agent.sources import open_source
from aggregator.config import FederationSettings
from aggregator.export.job import NEWEST
from aggregator.export.manifest import MANIFEST, ONNX
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.views import RoundRow, read_devices, read_rounds
from fedge.errors import FedgeError, StateError
from fedge.wire.messages.task import Task
from fleet.demo.broker import Broker
from fleet.demo.outcome import trained
from fleet.demo.processes import Program, spawn, stop
from fleet.demo.progress import Display
from fleet.demo.provision import Federation, end_after

PROCESSES = 24
"""Up to this number each device has a process of its own (of some 60 MB); of more, several share one."""
POLL_S = 0.2
STALL_S = 180.0
"""A round that takes longer than this many deadlines counts as stuck."""
FINAL_MODEL_S = 90.0
"""How long devices have to fetch the final model."""


@dataclass(frozen=True)
class Learnt:
    """The result of a fleet; every device holds the newest model."""

    rows: tuple[RoundRow, ...]
    """The survey and every training round."""
    seconds: float
    """From starting the programs until all devices held the newest model."""
    processes: int
    """The number of processes of the devices."""
    cut: bool
    """Whether the time limit ended it before all rounds were done."""

    @property
    def rounds(self) -> int:
        """Training rounds that closed."""
        return len(trained(self.rows))


def learn(
    files: Federation, logs: Path, bus: Broker, display: Display, until_s: float | None = None
) -> Learnt:
    """Run a federation until it is done and every device holds the newest model.

    Args:
        files: those of the federation.
        logs: a folder to create.
        bus: the broker that the files name.
        display: shows the progress.
        until_s: the time limit, by the monotonic clock; at least one round is finished.

    Raises:
        FedgeError: a program ended too early (with the last lines of its log), learning makes no progress, or
            the model was withheld.
    """
    started_s = time.monotonic()
    settings = FederationSettings.load(files.settings)
    database = settings.state.folder / LEDGER
    logs.mkdir()
    with _agents(files, logs) as agents:
        cut = not _follow(files, logs, database, bus, agents, until_s, display)
        if cut:
            so_many = end_after(len(trained(read_rounds(database))))
            ended = replace(files, variables={**files.variables, **so_many})
            _follow(ended, logs, database, bus, agents, None, display)
        display.say("final model")
        _await_newest_model(files, newest_in(settings.export.folder) / MANIFEST, agents)
    onnx = settings.export.folder / ONNX
    if not onnx.is_file():
        raise FedgeError(f"{onnx}: was withheld; {settings.export.folder / MANIFEST} says why")
    return Learnt(tuple(read_rounds(database)), time.monotonic() - started_s, len(agents), cut)


def data_of(files: Federation, task: Task) -> dict[str, Dataset]:
    """The training and held-out parts of each agent, read as the agent reads them."""
    found = {}
    for device, config in files.agents.items():
        settings = AgentSettings.load(config)
        found[device] = fit(open_source(settings.data).read(), task, settings.data)
    return found


def exported(folder: Path) -> tuple[int, float]:
    """The round of the exported model, and the aggregator's largest difference between the ONNX file and its
    own model, on random samples."""
    found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return int(found["round"]), float(found["onnx_max_abs_diff"])


def newest_in(folder: Path) -> Path:
    """The folder of an export's newest model: beside the best one, if that was chosen."""
    beside = folder / NEWEST
    return beside if (beside / MANIFEST).is_file() else folder


def shared_out(devices: Mapping[str, Path], processes: int) -> list[list[str]]:
    """Distribute devices evenly over at most this many processes.

    >>> shared_out({name: Path(name) for name in "abcde"}, 2)
    [['a', 'c', 'e'], ['b', 'd']]
    """
    names = list(devices)
    return [names[first::processes] for first in range(min(processes, len(names)))]


@contextmanager
def _agents(files: Federation, logs: Path) -> Iterator[list[Program]]:
    programs: list[Program] = []
    try:
        for number, names in enumerate(shared_out(files.agents, PROCESSES), 1):
            configs = [str(files.agents[name]) for name in names]
            if len(names) == 1:
                command = [sys.executable, "-m", "agent", "--config", *configs]
                who, log = f"the agent of {names[0]}", f"{names[0]}.log"
            else:
                command = [sys.executable, "-m", "fleet.demo.hosting", *configs]
                who, log = f"the process with the agents of {', '.join(names)}", f"agents-{number:02d}.log"
            programs.append(spawn(who, command, logs / log, files.variables))
        yield programs
    finally:
        stop(programs)


def _follow(
    files: Federation,
    logs: Path,
    database: Path,
    bus: Broker,
    agents: Sequence[Program],
    until_s: float | None,
    display: Display,
) -> bool:
    """Run the aggregator; return True when it has ended well, False when it was stopped at `until_s`.

    Raises:
        FedgeError: it ended badly, another program ended at all, or no round has closed for a long time.
    """
    command = [sys.executable, "-m", "aggregator", "--config", str(files.settings), "--exit-when-done"]
    aggregator = spawn("the aggregator", command, logs / "aggregator.log", files.variables)
    closed, moved_s = -1, time.monotonic()
    try:
        while aggregator.exit_code is None:
            bus.check()
            _check(agents)
            rows, online = _read(database)
            display.show(rows, online)
            if (now := sum(row.closed for row in rows)) != closed:
                closed, moved_s = now, time.monotonic()
            if until_s is not None and time.monotonic() > until_s and trained(rows):
                return False
            if time.monotonic() - moved_s > STALL_S:
                raise FedgeError(
                    f"no round has closed for {STALL_S:.0f} s; "
                    f"the last lines of {aggregator.log}:\n{aggregator.tail()}"
                )
            time.sleep(POLL_S)
    finally:
        stop([aggregator], patience_s=10.0)
    if aggregator.exit_code != 0:
        raise aggregator.died()
    display.show(read_rounds(database), len(files.agents))
    return True


def _read(database: Path) -> tuple[list[RoundRow], int]:
    """The rounds so far, and how many devices are online."""
    try:
        if database.exists():
            return read_rounds(database), sum(device.online for device in read_devices(database))
    except StateError:  # the file exists, but its tables do not yet
        pass
    return [], 0


def _check(agents: Sequence[Program]) -> None:
    for agent in agents:
        if agent.exit_code is not None:
            raise agent.died()


def _await_newest_model(files: Federation, manifest: Path, agents: Sequence[Program]) -> None:
    """Wait until every device holds the model of this manifest."""
    wanted = json.loads(manifest.read_text(encoding="utf-8"))["model"]
    deadline_s = time.monotonic() + FINAL_MODEL_S
    waiting = {device: config.parent / "state" / model_file.FILE for device, config in files.agents.items()}
    while waiting:
        _check(agents)
        for device, path in list(waiting.items()):
            model = model_file.read(path)
            if model is not None and model.model_digest.hex() == wanted:
                del waiting[device]
        if waiting and time.monotonic() > deadline_s:
            raise FedgeError(
                f"after {FINAL_MODEL_S:.0f} s these do not hold the final model: {', '.join(waiting)}"
            )
        time.sleep(POLL_S if waiting else 0)
