"""One process at a time tells the broker, and whoever waited need not say again what was said meanwhile.

A publication reads the register when its turn has begun. So it holds every change that was durable before,
and a process whose change is older than the beginning of a finished turn is served by it: of many that come
at once, one or two publish. What is older is told by the machine's monotonic clock, which all its processes
share, and which begins anew with each boot; where that cannot be told, everybody publishes.
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
"""How long a turn is waited for. One lasts two signals to the broker, which rests within a second or so; that
of a farewell some seconds more."""
_LONGEST_RECORD = 1_000


@dataclass(frozen=True)
class Moment:
    """When something was, for comparing between processes of this machine."""

    clock: str
    """Whose count it is: of this boot; another one's says nothing."""
    ns: int

    @classmethod
    def now(cls) -> Self:
        """This moment."""
        return cls(_clock(), time.monotonic_ns())

    def is_before(self, other: "Moment") -> bool:
        """Whether it certainly was before another one."""
        return self.clock == other.clock and self.ns < other.ns


@dataclass(frozen=True)
class Turn:
    """A turn that this process has; the locked file holds when the last whole one began, and how it ended."""

    descriptor: int

    def serves(self, changed: Moment) -> Signalled | None:
        """What became of the last publication, if it began after a change; None: it has to be published.

        A broker that the other process was not allowed to signal is not served.
        """
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads(os.pread(self.descriptor, _LONGEST_RECORD, 0))
            began = Moment(str(said["clock"]), int(said["began_ns"]))
            signalled = Signalled[said["signalled"]]
            if changed.is_before(began) and signalled is not Signalled.NOT_ALLOWED:
                return signalled
        return None

    def note(self, began: Moment, signalled: Signalled) -> None:
        """Tell those who wait that all was published that was durable when this began."""
        said = {"clock": began.clock, "began_ns": began.ns, "signalled": signalled.name}
        os.ftruncate(self.descriptor, 0)
        with suppress(OSError):  # on a full disk everybody publishes
            os.pwrite(self.descriptor, json.dumps(said).encode(), 0)


@contextmanager
def turn(path: Path, patience_s: float = PATIENCE_S) -> Iterator[Turn]:
    """Wait for the turn to tell the broker.

    Args:
        path: the file that is locked meanwhile.
        patience_s: how long it is waited for.

    Raises:
        Conflict: another process has it all that time.
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
        return secrets.token_hex(16)  # like no other
    try:
        return f"{boot} {Path('/proc/self/ns/time').readlink()}"  # a container may have a count of its own
    except OSError:
        return boot  # a kernel that knows one count only
