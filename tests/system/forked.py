"""The programs without their start-up: forked from a process that has imported their modules already.

To start Python and to import NumPy, pydantic and our own modules takes most of the CPU time of a test that
starts a fleet. Here one *parent* for each program does that once for all tests of a pytest process; for each
start it forks a child that runs the module as `python -m` does. What the program does from its `__main__` on
is the same: its arguments, environment, folder, signals, output and exit code.

A fork copies the seed of Python's hashes too, and with it the order of sets. So there are two parents with
different seeds, and a program that is started again comes from the other one.

Started as always (`fleet.demo.processes.spawn`) are programs behind another command (a network namespace, a
false clock), and all where `FEDGE_TEST_FORK=0` or not on Linux.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleet.demo.processes import our_packages
from fleet.demo.threads import ONE_THREAD
from tests.system import forking

ALGORITHMS = ("fedge.algorithms.local", "fedge.algorithms.personal", "numpy.random", "numpy.ma")
LOADED = {
    "agent": (
        "agent.__main__",
        "agent.shell.loop",
        "agent.phases.evaluate",
        "agent.phases.survey",
        "agent.phases.train",
        "agent.trainers.figures",
        "agent.trainers.personal",
        *ALGORITHMS,
    ),
    "aggregator": (
        "aggregator.__main__",
        "aggregator.shell.loop",
        "aggregator.phases.evaluate",
        "aggregator.phases.survey",
        "aggregator.phases.train",
        "aggregator.aggregation.job",
        "aggregator.aggregation.summary",
        "aggregator.aggregation.probes",
        "aggregator.schedules.buffered",
        "aggregator.schedules.rounds",
        "fedge.algorithms.server",
        "fedge.algorithms.rules.nova",
        *ALGORITHMS,
    ),
}
"""What a parent imports, by program: what the program itself imports when it runs, and nothing more."""
SEEDS = ("1", "2")
"""Of Python's hashes, for the parents of a program."""
OF_THE_INTERPRETER = ("PYTHON", "LD_", "MALLOC_")
"""What the names of variables begin with that are read before any module: they need a parent of their own."""


class Forked:
    """A running program: what the tests use of `subprocess.Popen`."""

    def __init__(self, pid: int, handle: int, ending: int, arguments: Sequence[str]) -> None:
        self.pid = pid
        self.args = list(arguments)
        self.returncode: int | None = None
        self._handle = handle  # the process as a file (pidfd): a signal reaches no other one
        self._ending = ending  # a pipe that tells the exit code

    def poll(self) -> int | None:
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        if (code := self._ended(timeout)) is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def _ended(self, timeout_s: float | None) -> int | None:
        if self.returncode is None:
            waiting = select.poll()
            waiting.register(self._ending, select.POLLIN)
            if waiting.poll(None if timeout_s is None else max(0.0, timeout_s * 1000)):
                answer = os.read(self._ending, 64)
                assert answer, f"the parent of process {self.pid} is gone"
                self.returncode = int(answer)
                os.close(self._handle)
                os.close(self._ending)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Parent:
    """A process that has the modules of a program, and forks; it ends with the process that has begun it."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self._socket, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            command = [sys.executable, str(forking.__file__), str(there.fileno()), module, *LOADED[module]]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=[there.fileno()],
                start_new_session=True,
            )

    def end(self) -> None:
        """End it, and so its programs."""
        self._socket.close()
        self._process.wait()

    def start(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> Forked:
        request = {"arguments": list(arguments), "folder": str(Path.cwd()), "variables": environment}
        with log.open("ab") as output:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [output.fileno()])
        answer, files, _, _ = socket.recv_fds(self._socket, 64, 2)
        assert answer, f"the parent of programs has ended with {self._process.wait()}"
        return Forked(int(answer), *files, arguments)


_parents: dict[tuple[str, str, frozenset[tuple[str, str]]], _Parent] = {}


@atexit.register
def end_parents(*modules: str) -> None:
    """End those that fork these programs, or all."""
    for key in [key for key in _parents if not modules or key[0] in modules]:
        _parents.pop(key).end()


def start(
    module: str, arguments: Sequence[str], log: Path, life: int, variables: Mapping[str, str]
) -> Forked:
    """Run `python -m module` with these arguments, as `fleet.demo.processes.spawn` does.

    Args:
        module: one of `LOADED`.
        arguments: the program's.
        log: where its standard output and standard error are appended.
        life: how often it has been started before.
        variables: of the environment, besides those of this process.
    """
    environment = {**os.environ, **variables, **ONE_THREAD, **our_packages()}
    own = {name: value for name, value in environment.items() if name.startswith(OF_THE_INTERPRETER)}
    seed = SEEDS[life % len(SEEDS)]
    key = module, seed, frozenset(own.items())
    if key not in _parents:
        _parents[key] = _Parent(module, {**environment, "PYTHONHASHSEED": seed})
    return _parents[key].start(arguments, log, environment)


def can_start(module: str) -> bool:
    """Whether `start` is to be used here for this program."""
    return sys.platform == "linux" and module in LOADED and os.environ.get("FEDGE_TEST_FORK") != "0"
