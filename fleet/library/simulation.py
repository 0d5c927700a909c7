"""`simulate`: a whole federation in this process, on production's own cores, messages and ledger.

Only the network, the clocks and the threads are simulated (`fleet.library.programs`). So the same seed, task
and data give the same model, to the bit, as agents and an aggregator with the same settings.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike
from pydantic import ValidationError

from agent.config import AgentSettings
from agent.settings.sources import DEFAULT_SOURCE
from agent.sources.caller_sources import GivenArrays
from aggregator.aggregation.models import task_of
from aggregator.config import FederationSettings
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.views import RoundRow, read_devices
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import CODECS, registered
from fedge.errors import ConfigError, FedgeError
from fedge.nn.spec import Dense
from fedge.storage.temporary import temporary_folder
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.model import Model as Message
from fedge.wire.messages.task import Task
from fedge.wire.topics import DEVICE_ID
from fleet.library.algorithm import Algorithm
from fleet.library.history import read_rounds
from fleet.library.models import Model
from fleet.library.programs import Stage
from fleet.library.virtual_aggregator import Aggregator
from fleet.library.virtual_device import Device
from fleet.library.warnings import held_back

NAME, SOURCE = "simulation", "data"
ATTEMPTS = 3
"""A round that has not closed after this number of deadlines does not close any more."""
SETTLE_S = 60.0
"""Virtual seconds for connecting and closing, besides the deadlines."""
MEMORY = Path("/dev/shm")  # nosec B108 # the files in it get a folder of their own, by tempfile


@dataclass(frozen=True)
class Result:
    """The result of a simulated federation."""

    model: Model
    """The newest model."""
    history: tuple[RoundRow, ...]
    """The survey, every training round, and the one that measures the last model; oldest first."""


def simulate(
    task: Task,
    devices: Mapping[str, tuple[ArrayLike, ...]],
    algorithm: Algorithm | None = None,
    *,
    plan: Plan | None = None,
    rounds: int = 20,
    seed: int = 0,
    holdout: float = 0.2,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    folder: Path | str | None = None,
    seconds: Mapping[str, float] | None = None,
) -> Result:
    """Run a federation in this process.

    Each round waits for all devices, unless `settings` say otherwise. The result is a function of the
    arguments, to the bit.

    Args:
        task: the network, and the names of features and outputs; the survey adds the layers that standardize.
        devices: (X, y) of each, by device id: samples of shape (n, d), and answers of shape (n,) or (n, t);
            classes by their names or indices. Or (X, y, series), where series has the recording of each row.
        algorithm: the parts to learn with; FedAvg if None.
        plan: local training; its codec and local algorithm are those of `algorithm`.
        rounds: training rounds.
        seed: fixes the first weights and the order of samples.
        holdout: the share of each recording that is kept for evaluation: its last rows.
        settings: other tables of `federation.toml`, as in `{"rounds": {"fraction": 0.5, "target": 4}}`.
        seconds: how long each device trains in a round, in virtual seconds; a device that is missing here
            trains at once. What a round lasts is `seconds` in its summary.
        folder: a new folder, which keeps the ledger in `state`, for `read_rounds`, and each device's model in
            `devices/NAME`, for `load_model`; None: both are deleted.

    Raises:
        ConfigError: an argument, a device's name, a setting or a part is wrong.
        FedgeError: a round cannot close; the text says which devices do not take part, and why.
    """
    for what, given, kind in (
        ("task", task, Task),
        ("devices", devices, Mapping),
        ("algorithm", algorithm, Algorithm | None),
        ("plan", plan, Plan | None),
        ("rounds", rounds, int),
    ):
        if not isinstance(given, kind):
            wanted = getattr(kind, "__name__", kind)
            raise ConfigError(f"simulate: {what} is of {type(given).__name__}, expected {wanted}")
    chosen = algorithm if algorithm is not None else Algorithm()
    sources = {name: _source(name, data) for name, data in devices.items()}
    with held_back(), registered(*chosen.entries()), _folder(folder) as home:
        federation = _federation(task, devices, chosen, plan or Plan(), rounds, seed, settings or {}, home)
        stage = Stage.new(seed)
        fleet = [
            Device(
                stage, _agent(name, holdout, home), {DEFAULT_SOURCE: source}, (seconds or {}).get(name, 0.0)
            )
            for name, source in sources.items()
        ]
        aggregator = Aggregator(stage, federation)
        try:
            for program in (aggregator, *fleet):
                program.start()
            _run(stage, aggregator, fleet, ATTEMPTS * federation.rounds.deadline_s + SETTLE_S)
            return Result(_newest(aggregator.ledger), tuple(read_rounds(federation.state.folder)))
        finally:
            for program in (aggregator, *fleet):
                program.close()


def _run(stage: Stage, aggregator: Aggregator, fleet: list[Device], patience_s: float) -> None:
    newest, since_s = None, 0.0
    while not aggregator.done:
        if aggregator.round != newest:
            newest, since_s = aggregator.round, stage.clock.now_s
        if not stage.clock.step() or stage.clock.now_s - since_s > patience_s:
            raise FedgeError(f"round {newest} does not close: {_reasons(aggregator, fleet)}")


def _reasons(aggregator: Aggregator, fleet: list[Device]) -> str:
    """Why too few updates were admitted: failures of devices, or refusals of the aggregator."""
    failed = [f"{device.name}: {device.failed}" for device in fleet if device.failed is not None]
    rows = read_devices(aggregator.path)
    refused = [f"{row.device}: {row.last_refusal}" for row in rows if row.last_refusal is not None]
    return "; ".join(failed or refused) or "fewer devices answer than [rounds] requires"


def _federation(
    task: Task,
    devices: Mapping[str, object],
    algorithm: Algorithm,
    plan: Plan,
    rounds: int,
    seed: int,
    further: Mapping[str, Mapping[str, Any]],
    home: Path,
) -> FederationSettings:
    """The settings of the federation; the defaults are those of `fedge demo`."""
    *hidden, last = task.network.layers
    if not isinstance(last, Dense):
        raise ConfigError(
            "task: its network must end with a dense layer; the survey adds the layers around it"
        )
    parts = algorithm.tables()
    told = plan.model_dump(exclude_none=True, exclude={"codec", "codec_options", "local", "local_options"})
    model = {key: found for key in ("features", "classes", "targets") if (found := getattr(task, key))}
    tables: dict[str, Mapping[str, Any]] = {
        "federation": {"name": NAME, "seed": seed, "devices": tuple(devices)},
        "model": {**model, "layers": [layer.model_dump() for layer in hidden]},
        "rounds": {"target": len(devices), "quorum": len(devices), "deadline_s": 60.0},
        "stopping": {"rounds": rounds},
        "state": {"folder": home / "state", "keep_rounds": rounds + 2},
        "export": {"folder": home / "export"},
        **parts,
        "plan": {**told, **parts["plan"]},
    }
    for name, table in further.items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"simulate: settings[{name!r}] is {table!r}, expected a table")
        tables[name] = {**tables.get(name, {}), **table}
    try:
        return FederationSettings.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(f"simulate: {_first(error)}") from None


def _source(name: object, data: object) -> GivenArrays:
    """The source of a device's samples."""
    if not isinstance(name, str) or not re.fullmatch(DEVICE_ID, name):
        raise ConfigError(f"simulate: {name!r} is no name of a device: it must match {DEVICE_ID}")
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        found = f"{type(data).__name__}" + (f" of {len(data)}" if isinstance(data, tuple | list) else "")
        raise ConfigError(f"simulate: device {name!r} is given {found}, expected (X, y) or (X, y, series)")
    return GivenArrays(SOURCE, *data)


def _agent(name: str, holdout: float, home: Path) -> AgentSettings:
    tables = {
        "federation": NAME,
        "device": name,
        "data": {"source": "python", "callable": "given:arrays", "holdout": holdout},
        "state": {"folder": home / "devices" / name},
    }
    try:
        return AgentSettings.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(f"simulate: device {name!r}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    what = first["msg"].removeprefix("Value error, ")
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {what}" if where else what


def _newest(ledger: LedgerReader) -> Model:
    newest = ledger.newest_round()
    assert newest is not None
    task_digest, digest = (ledger.newest(kind, newest.generation) for kind in ("task", "model"))
    assert task_digest is not None
    assert digest is not None
    task = task_of(ledger, task_digest)
    told = unpack(ledger.content(digest), Message, max_bytes=MAX_SIZE)
    weights = CODECS.make(told.codec).decode(told.body, task.network.schema.size)
    return Model(task, weights, told.generation, told.round)


@contextmanager
def _folder(wanted: Path | str | None) -> Iterator[Path]:
    """Make the wanted folder, or one in memory that is removed at the end."""
    if wanted is None:
        where = MEMORY if MEMORY.is_dir() else None
        with temporary_folder("fedge-simulation-", where) as folder:
            yield folder
        return
    path = Path(wanted)
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"simulate: folder {path}: {error.strerror}; name one that is not there") from None
    yield path
