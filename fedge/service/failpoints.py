"""Failpoints: named moments at which a test kills the program, as a power cut would.

Every effect has a failpoint before and one after it is performed: `FEDGE_FAILPOINT=SaveUpdate.before`, or
`SendReceipt.after:3` for the third time. docs/state.md lists the names.

One watcher is called at every failpoint. If the variable is set, the watcher kills this process. In the
simulated world the watcher is the power of the running host, which may fail there. Without a watcher a
failpoint costs one comparison.
"""

import os
import re
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from fedge.errors import ConfigError

VARIABLE = "FEDGE_FAILPOINT"
LINGER_S = 0.05
"""The wait before the kill, in seconds. It lets the network thread send all it has, which is the worst case
for law 4."""


When = Literal["before", "after"]


class Watcher(Protocol):
    """Is called at every failpoint, and may end the program there."""

    def reach(self, what: object, when: When) -> None:
        """Handle the moment before or after an effect, or before or after the step with this name."""


@dataclass
class _Armed:
    point: str
    left: int

    def reach(self, what: object, when: When) -> None:
        name = what if isinstance(what, str) else type(what).__name__
        if f"{name}.{when}" != self.point:
            return
        self.left -= 1
        if self.left == 0:
            time.sleep(LINGER_S)
            os.kill(os.getpid(), signal.SIGKILL)


_watcher: Watcher | None = None


def arm(names: Iterable[str], environment: Mapping[str, str] = os.environ) -> None:
    """Arm the failpoint that the environment names, if it names one.

    Args:
        names: the effects of this program. Each has a failpoint `.before` and one `.after`.
        environment: where `FEDGE_FAILPOINT` is looked up.

    Raises:
        ConfigError: there is no such failpoint in this program.
    """
    global _watcher
    text = environment.get(VARIABLE, "")
    if not text:
        _watcher = None
        return
    found = re.fullmatch(r"((\w+)\.(?:before|after))(?::([1-9]\d{0,8}))?", text)
    known = sorted(names)
    if found is None or found[2] not in known:
        raise ConfigError(
            f"environment variable {VARIABLE}: {text!r} is not a failpoint of this program; expected "
            f"NAME.before or NAME.after, or :N after it for the N-th time; NAME is one of {', '.join(known)}"
        )
    _watcher = _Armed(found[1], int(found[3] or 1))


@contextmanager
def watched_by(watcher: Watcher | None) -> Iterator[None]:
    """Use this watcher within the block, and the earlier one afterwards."""
    global _watcher
    earlier, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = earlier


def before(what: object) -> None:
    """Report the moment before an effect, or before the step with this name."""
    if _watcher is not None:
        _watcher.reach(what, "before")


def after(what: object) -> None:
    """Report the moment after an effect, or after the step with this name."""
    if _watcher is not None:
        _watcher.reach(what, "after")
