"""The devices' side in several processes, which are started once and told of each round."""

import logging
import multiprocessing
import pickle  # only what this process itself has pickled, for its own children
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from agent.config import AgentSettings
from agent.sources import Source
from fedge.algorithms.registry import load, register
from fedge.errors import ConfigError, FedgeError
from fleet.library.algorithm import Algorithm
from fleet.library.fast.blas import one_thread_for_children, use_one_thread
from fleet.library.fast.devices import Devices
from fleet.library.fast.memory import mapped
from fleet.library.fast.orders import Order, Outcome, Place
from fleet.library.warnings import PROGRAMS

Given = Mapping[str, tuple[AgentSettings, Source]]
Logged = tuple[str, int, str]
"""A logger, a level and a text."""

UNEVEN = 1.05
"""How much more than its share of the rows a process may get, so that data are not prepared in another."""
ENDING_S = 5.0
"""How long a process may take to end before it is killed."""


class Workers:
    """Processes that share the devices' work.

    They are forked where that is safe: on Linux, while this process has no other thread. Otherwise they are
    started anew, and get the devices and the parts of the algorithm pickled.

    Args:
        number: of processes.
        given: settings and source of each device.
        algorithm: its parts from outside are registered in each process.
        extensions: those of `federation.toml`, which are loaded in each.

    Raises:
        ConfigError: the devices or the algorithm cannot be pickled.
    """

    def __init__(self, number: int, given: Given, algorithm: Algorithm, extensions: Sequence[str]) -> None:
        forked = forks()
        context: Any = multiprocessing.get_context("fork" if forked else "spawn")
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []
        needed = given, None if forked else algorithm, () if forked else tuple(extensions)
        if not forked:
            _require_picklable(algorithm)
        try:
            with one_thread_for_children():
                for _ in range(number):
                    here, there = context.Pipe()
                    others = tuple(self._pipes) if forked else ()
                    process = context.Process(
                        target=_serve, args=(there, (*others, here) if forked else (), *needed), daemon=True
                    )
                    process.start()
                    there.close()
                    self._processes.append(process)
                    self._pipes.append(here)
        except BaseException:
            self.close()
            raise
        self._keepers: dict[str, int] = {}
        """The process that keeps a device's state."""
        self._homes: dict[str, int] = {}
        """The process that has prepared a device's data last."""
        self._samples: dict[str, int] = {}

    def work(self, order: Order, asked: Mapping[str, int]) -> list[Outcome]:
        """Do the work of an attempt.

        Args:
            order: the attempt.
            asked: the devices to ask, and the row of the updates for each one's vectors.

        Raises:
            FedgeError: a process has ended.
        """
        shares = self._divided(asked)
        at_work = [number for number, share in enumerate(shares) if share]
        for number in at_work:
            self._send(number, (order, shares[number]))
        found: list[Outcome] = []
        for number in at_work:
            outcomes, logged, error = self._receive(number)
            for logger, level, text in logged:
                logging.getLogger(logger).log(level, "%s", text)
            if error is not None:
                raise error
            self._keepers |= dict.fromkeys((one.device for one in outcomes if one.stateful), number)
            found += outcomes
        self._samples |= {one.device: one.samples for one in found if one.samples}
        return found

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(ENDING_S)
            if process.is_alive():
                process.kill()
                process.join()

    def _divided(self, asked: Mapping[str, int]) -> list[dict[str, int]]:
        """Divide by rows: a device stays with the process that keeps its state.

        Others stay with the one that has prepared their data, unless that has too much to do already.
        """
        shares: list[dict[str, int]] = [{} for _ in self._pipes]
        loads = [0] * len(shares)

        def put(device: str, number: int) -> None:
            shares[number][device] = asked[device]
            loads[number] += self._samples.get(device, 1)

        most = UNEVEN * sum(self._samples.get(device, 1) for device in asked) / len(shares)
        free = [device for device in asked if device not in self._keepers]
        free.sort(key=lambda device: (device not in self._homes, -self._samples.get(device, 1)))
        for device in asked:
            if device in self._keepers:
                put(device, self._keepers[device])
        for device in free:
            home = self._homes.get(device)
            stays = home is not None and loads[home] + self._samples.get(device, 1) <= most
            number = home if home is not None and stays else loads.index(min(loads))
            self._homes[device] = number
            put(device, number)
        return shares

    def _send(self, number: int, what: object) -> None:
        try:
            self._pipes[number].send(what)
        except OSError as error:
            raise self._ended(number) from error

    def _receive(self, number: int) -> "tuple[list[Outcome], list[Logged], Exception | None]":
        try:
            found: tuple[list[Outcome], list[Logged], Exception | None] = self._pipes[number].recv()
        except (EOFError, OSError) as error:
            raise self._ended(number) from error
        return found

    def _ended(self, number: int) -> FedgeError:
        process = self._processes[number]
        process.join(ENDING_S)
        return FedgeError(
            f"simulate: worker process {number + 1} has ended with exit code {process.exitcode}; if it lacks "
            "memory, set fewer workers"
        )


def forks() -> bool:
    """Whether processes are forked: a copy of one thread could wait for ever for what another one holds."""
    return sys.platform == "linux" and threading.active_count() == 1


class _Collected(logging.Handler):
    """Collects what the programs log, for the process that started this one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[Logged] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        self.lines.append((record.name, record.levelno, record.getMessage()))


def _serve(
    pipe: Connection,
    others: Sequence[Connection],
    given: Given,
    algorithm: Algorithm | None,
    extensions: Sequence[str],
) -> None:
    """A worker process: do what is sent until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends the others
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    use_one_thread()
    for other in others:  # of the process that forked this one
        other.close()
    collected = _Collected()
    for name in PROGRAMS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [collected], False
    for extension in extensions:
        load(extension)
    for entry in algorithm.entries() if algorithm is not None else ():
        register(entry)
    devices, maps = Devices(given), _Maps()
    while True:
        try:
            order, asked = pipe.recv()
        except (EOFError, OSError):
            return
        outcomes: list[Outcome] = []
        error: Exception | None = None
        try:
            outcomes = devices.work(order, asked, maps.of("model", order.model), maps.of("up", order.updates))
        except Exception as raised:
            error = _sendable(raised)
        lines, collected.lines = collected.lines, []
        try:
            pipe.send((outcomes, lines, error))
        except OSError:
            return


class _Maps:
    """The newest array of each name."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[Place, Any]] = {}

    def of(self, name: str, place: Place) -> Any:
        found = self._newest.get(name)
        if found is None or found[0] != place:
            found = self._newest[name] = place, mapped(place)
        return found[1]


def _sendable(error: Exception) -> Exception:
    """The error, or what it says: one from outside may not survive pickling, which calls `type(*args)`."""
    try:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 # the bytes are this process's own
        if isinstance(again, FedgeError):
            return again
    except Exception as other:
        why = f"; the error itself cannot be sent to another process: {other!r}"
    else:
        why = ""
    return FedgeError(f"simulate: a worker failed: {type(error).__name__}: {error}{why}")


def _require_picklable(algorithm: Algorithm) -> None:
    try:
        pickle.dumps(algorithm)
    except Exception as error:
        raise ConfigError(
            f"simulate: the parts of the algorithm cannot be sent to another process ({error}): define their "
            "classes in a module of their own, or set workers=1"
        ) from None
