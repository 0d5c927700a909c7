"""`simulate`: a whole federation in this process or in worker processes, without a network.

Only the network, the clocks and the threads are simulated. So the same seed, task and data give the same
model, to the bit, as agents and an aggregator with the same settings, with either engine.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from numpy.typing import ArrayLike

from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import registered
from fedge.errors import ConfigError
from fedge.storage.temporary import remove_left, temporary_folder
from fedge.wire.messages.task import Task
from fleet.library import cores
from fleet.library.algorithm import Algorithm
from fleet.library.attackers import attackers_of
from fleet.library.course import Course
from fleet.library.fast import federation as fast
from fleet.library.preparation import agent_settings, checked_seconds, federation_settings, source_of
from fleet.library.results import Progress, Result
from fleet.library.warnings import held_back

MEMORY = Path("/dev/shm")  # noqa: S108 # the files in it get a folder of their own, by tempfile

Engine = Literal["cores", "fast"]


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
    engine: Engine = "cores",
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    until: Callable[[Progress], bool] | None = None,
    test: tuple[ArrayLike, ...] | None = None,
    attackers: Mapping[str, str | Mapping[str, Any]] | None = None,
) -> Result:
    """Run a federation in this process.

    Each round waits for all devices that are chosen, unless `settings` say otherwise. The result is a
    function of the arguments, to the bit. Both engines give the same model, curve, history and figures; only
    what a clock or the wire's messages say differs: `seconds` of a round and of a device, and a round's
    `bytes_up` and `bytes_down`, which are those of the vectors alone with the engine `fast`. That engine logs
    no warnings about the devices' data.

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
            trains at once. What a round lasts is `seconds` in its summary, and `seconds` of a `Point` says
            when its model was made. Only with the engine `cores`.
        folder: a new folder, which keeps the ledger in `state`, for `read_rounds`, and each device's model in
            `devices/NAME`, for `load_model`; None: both are deleted. Only with the engine `cores`.
        engine: `cores`, production's state machines, messages and ledger; or `fast`, only the functions that
            train, encode, admit and aggregate.
        workers: with the engine `fast`, the number of processes that train; 1: this one alone; None: as many
            as there are processors.
        progress: called after each training round.
        until: called after `progress`; if it returns True, the simulation ends with that round.
        test: (X, y), rows of no device, on which each model is measured for `Result.curve`.
        attackers: the attack of each device that lies, by its name, or a table with its `name` and options:
            `{"d001": "alie", "d002": {"name": "ipm", "epsilon": 100.0}}`. Those with the same attack and
            options act together, and see the honest updates of the round. Only with the engine `fast`.

    Raises:
        ConfigError: an argument, a device's name, a setting or a part is wrong.
        FedgeError: a round cannot close for another reason than divergence; the text says which devices do
            not take part, and why.
    """
    for what, given, kind in (
        ("task", task, Task),
        ("devices", devices, Mapping),
        ("algorithm", algorithm, Algorithm | None),
        ("plan", plan, Plan | None),
        ("rounds", rounds, int),
        ("workers", workers, int | None),
    ):
        if not isinstance(given, kind):
            wanted = getattr(kind, "__name__", kind)
            raise ConfigError(f"simulate: {what} is of {type(given).__name__}, expected {wanted}")
    _check(engine, workers, folder, seconds, attackers)
    speeds = None if seconds is None else checked_seconds(seconds, devices)
    chosen = algorithm if algorithm is not None else Algorithm()
    liars = attackers_of(attackers, devices, seed)
    sources = {name: source_of(name, liars.rows(name, data, task)) for name, data in devices.items()}
    with held_back(), registered(*chosen.entries()), _folder(folder) as home:
        federation = federation_settings(
            task, devices, chosen, plan or Plan(), rounds, seed, settings or {}, home
        )
        course = Course(federation.stopping.rounds, progress, until, timed=seconds is not None)
        if test is not None:
            course.test = source_of("test", test)
            course.settings = agent_settings("test", 0.0, home).data
        fleet = [(agent_settings(name, holdout, home), source) for name, source in sources.items()]
        if engine == "fast":
            return fast.run(federation, fleet, chosen, workers, course, home, liars)
        return cores.run(federation, fleet, course, speeds)


def remove_left_by(process: int) -> None:
    """Remove the folders of simulations that a process has left behind.

    Args:
        process: its number. It has been killed and not yet been waited for, so that no other process can have
            this number; or it is this process, which is about to end.
    """
    remove_left(_prefix(process), _memory())


def _check(engine: object, workers: int | None, folder: object, seconds: object, attackers: object) -> None:
    if engine not in get_args(Engine):
        raise ConfigError(f"simulate: engine is {engine!r}, expected one of {', '.join(get_args(Engine))}")
    if workers is not None and workers < 1:
        raise ConfigError(f"simulate: workers is {workers}, expected 1 or more")
    if engine == "cores" and workers is not None and workers != 1:
        raise ConfigError("simulate: the engine cores has no workers: set engine='fast', or no workers")
    if engine == "cores" and attackers is not None:
        raise ConfigError("simulate: the engine cores has no attackers: set engine='fast'")
    if engine == "fast" and folder is not None:
        raise ConfigError("simulate: the engine fast keeps no folder: set engine='cores', or no folder")
    if engine == "fast" and seconds is not None:
        raise ConfigError("simulate: the engine fast has no clock: set engine='cores', or no seconds")


@contextmanager
def _folder(wanted: Path | str | None) -> Iterator[Path]:
    """Make the wanted folder, or one in memory that is removed at the end."""
    if wanted is None:
        with temporary_folder(_prefix(os.getpid()), _memory()) as folder:
            yield folder
        return
    path = Path(wanted)
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"simulate: folder {path}: {error.strerror}; name one that is not there") from None
    yield path


def _prefix(process: int) -> str:
    """How the names of a process's folders begin."""
    return f"fedge-simulation-{process}-"


def _memory() -> Path | None:
    """Where the folders are made."""
    return MEMORY if MEMORY.is_dir() else None
