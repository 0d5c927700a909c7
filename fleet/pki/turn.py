"""Turns of publishing: one process at a time tells the broker, and does so for all that wait.

A publication reads the register after its turn has begun. So it includes every change that was durable
before. A process whose change is older than the beginning of a finished turn need not publish: of many
processes at once, one or two publish. The machine's monotonic clock orders these moments. All processes share
it, and it begins anew with each boot. If moments cannot be compared, every process publishes.
"""

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fedge.errors import Conflict
from fedge.storage.locks import waiting_lock
from fleet.pki.broker_signal import Signalled

PATIENCE_S = 60.0
"""How long to wait for a turn. A turn lasts two signals to the broker, which is idle within about a second;
excluding a device takes some seconds more."""
_LONGEST_RECORD = 1_000


@dataclass(frozen=True)
class Moment:
    """A moment that processes of this machine can compare."""

    clock: str
    """The boot that the clock belongs to; moments of other boots cannot be compared."""
    ns: int

    @classmethod
    def now(cls) -> Self:
        """This moment."""
        return cls(_clock(), time.monotonic_ns())

    def is_before(self, other: "Moment") -> bool:
        """Whether it was certainly before another one."""
        return self.clock == other.clock and self.ns < other.ns


@dataclass(frozen=True)
class Turn:
    """A turn of this process; the locked file holds when the last complete turn began, and its result."""

    descriptor: int

    def serves(self, changed: Moment) -> Signalled | None:
        """The result of the last publication, if it began after a change; None: publish now.

        It does not count if the other process was not allowed to signal the broker.
        """
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads(os.pread(self.descriptor, _LONGEST_RECORD, 0))
            began = Moment(str(said["clock"]), int(said["began_ns"]))
            signalled = Signalled[said["signalled"]]
            if changed.is_before(began) and signalled is not Signalled.NOT_ALLOWED:
                return signalled
        return None

    def note(self, began: Moment, signalled: Signalled) -> None:
        """Record for waiting processes that everything was published that was durable when this turn
        began."""
        said = {"clock": began.clock, "began_ns": began.ns, "signalled": signalled.name}
        os.ftruncate(self.descriptor, 0)
        with suppress(OSError):  # on a full disk every process publishes
            os.pwrite(self.descriptor, json.dumps(said).encode(), 0)


@contextmanager
def turn(path: Path, patience_s: float = PATIENCE_S) -> Iterator[Turn]:
    """Wait for the turn to tell the broker.

    Args:
        path: the file that is locked meanwhile.
        patience_s: how long to wait.

    Raises:
        Conflict: another process had the turn all that time.
        StateError: the file cannot be opened or locked.
    """
    with ExitStack() as held:
        try:
            descriptor = held.enter_context(waiting_lock(path, patience_s))
        except Conflict as error:
            raise Conflict(
                f"{error}; what was changed is in the register, but the broker is not told yet"
            ) from None
        yield Turn(descriptor)


def _clock() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return secrets.token_hex(16)  # equal to no other value
    try:
        return f"{boot} {Path('/proc/self/ns/time').readlink()}"  # a container may have a clock of its own
    except OSError:
        return boot  # this kernel has one clock only
