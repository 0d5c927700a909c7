"""Child processes with a log each, which never outlive their parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import fedge
from fedge.errors import FedgeError
from fleet.demo.threads import ONE_THREAD

# PR_SET_PDEATHSIG (prctl(2)) survives execve, so a small program sets it and then executes the real one. A
# preexec_fn would save this second start, but it is not safe in a parent that has threads.
_BOND = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.getppid() == int(sys.argv[1]) and os.execvp(sys.argv[2], sys.argv[2:])
"""


def our_packages() -> dict[str, str]:
    """The variables with which `python -m agent` finds our package from any current folder."""
    root = str(Path(fedge.__file__).parent.parent)
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": path}


@dataclass(frozen=True)
class Program:
    """A running child process."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal as in `subprocess`; none while it runs."""
        return self.process.poll()

    def tail(self, lines: int = 8) -> str:
        """The last lines of its log, indented."""
        text = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in text[-lines:]) or "    (the log is empty)"

    def died(self) -> FedgeError:
        """The error that says how it ended, with the last lines of its log."""
        code = self.process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return FedgeError(f"{self.name} {how}; the last lines of {self.log}:\n{self.tail()}")


def spawn(
    name: str, command: Sequence[str], log: Path, variables: Mapping[str, str] | None = None
) -> Program:
    """Start `command` with its output appended to `log`, and with further environment `variables`.

    It is killed when the calling process ends, in whatever way (Linux). It does not get the terminal's
    Ctrl-C: its parent decides when it stops.
    """
    bond = [sys.executable, "-I", "-S", "-c", _BOND, str(os.getpid())] if sys.platform == "linux" else []
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*bond, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(variables or {}), **ONE_THREAD, **our_packages()},
            start_new_session=True,
        )
    return Program(name, process, log)


def stop(programs: Iterable[Program], patience_s: float = 3.0) -> None:
    """End programs: SIGTERM to all at once, and SIGKILL to those that still run after `patience_s`."""
    running = [program for program in programs if program.exit_code is None]
    for program in running:
        program.process.terminate()
    deadline_s = time.monotonic() + patience_s
    for program in running:
        try:
            program.process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            program.process.kill()
            program.process.wait()
