"""The signal to the broker on this machine: Mosquitto reads its lists again on SIGHUP."""

import os
import signal
import time
from enum import Enum
from pathlib import Path

from fedge.errors import StateError
from fedge.storage.files import read_file

READING_S, READING_PER_MEMBER_S = 1.0, 0.001
"""The longest wait for an idle moment of the broker before it is signalled; reading the lists of 10,000
members takes it seconds. It is no longer, because a client that floods the broker could delay its own
exclusion."""
STARTING_S = 10.0
"""How long to wait for a broker that is starting; with a large database it may take long."""


class Signalled(Enum):
    """The result of the signal to the broker."""

    YES = "the broker reads the change now"
    NOT_RUNNING = "the broker does not run; it reads the change when it starts"
    NOT_ALLOWED = (
        "the broker was not signalled, because this user may not; the system does it where "
        "fedge-broker-reload.path is installed, else run as root: systemctl reload mosquitto"
    )


def signal_broker(pid_file: Path, members: int = 0) -> Signalled:
    """Send SIGHUP to the Mosquitto whose process id is in the file: it reads its files again.

    `members`: the number of members on its lists.

    Raises:
        StateError: the file exists and holds no number.
    """
    try:
        pid = int(read_file(pid_file, 32))
        command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        if "mosquitto" not in {Path(word).name for word in command}:
            return Signalled.NOT_RUNNING  # another process has this id now
        _wait_until_it_hears(pid)
        _wait_until_it_rests(pid, READING_S + READING_PER_MEMBER_S * members)
        os.kill(pid, signal.SIGHUP)
    except (FileNotFoundError, ProcessLookupError):
        return Signalled.NOT_RUNNING
    except PermissionError:
        return Signalled.NOT_ALLOWED
    except ValueError:
        raise StateError(f"{pid_file}: cannot be read as a process id: it holds no number") from None
    except OSError as error:
        raise StateError(f"{pid_file}: cannot be read as a process id: {error.strerror}") from None
    return Signalled.YES


def _wait_until_it_hears(pid: int) -> None:
    """Wait until the process handles SIGHUP: a signal while Mosquitto still starts would end it.

    Raises:
        ProcessLookupError: it does not within `STARTING_S`, or has ended.
    """
    deadline_s = time.monotonic() + STARTING_S
    while time.monotonic() < deadline_s:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
        caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
        if int(caught, 16) >> (signal.SIGHUP - 1) & 1:
            return
        time.sleep(0.01)
    raise ProcessLookupError


def _wait_until_it_rests(pid: int, patience_s: float) -> None:
    """Wait until the process is idle: a signal that arrives while it reads its files is lost.

    Mosquitto records a signal in a flag, and clears the flag after it has read all its files. With a thousand
    devices one of four signals was lost that came within 25 ms of another.
    """
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s and not _rests(pid):
        time.sleep(0.001)


def _rests(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    return stat.rpartition(")")[2].split()[0] == "S"
