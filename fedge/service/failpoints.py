"""Failpoints: named moments at which a test kills the program, as a power cut would.

Every effect of a program has two: one before and one after it is performed. Choose one by
`FEDGE_FAILPOINT=SaveUpdate.before`, or `SendReceipt.after:3` for the third time it is reached. Without that
variable a failpoint costs one comparison. docs/state.md has the names.
"""

import os
import re
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fedge.errors import ConfigError

VARIABLE = "FEDGE_FAILPOINT"
LINGER_S = 0.05
"""How long to wait before the kill, so that the network thread sends what it has: the worst case for law
4."""


@dataclass
class _Armed:
    point: str
    left: int

    def reach(self, what: object, when: str) -> None:
        name = what if isinstance(what, str) else type(what).__name__
        if f"{name}.{when}" != self.point:
            return
        self.left -= 1
        if self.left == 0:
            time.sleep(LINGER_S)
            os.kill(os.getpid(), signal.SIGKILL)


_armed: _Armed | None = None


def arm(names: Iterable[str], environment: Mapping[str, str] = os.environ) -> None:
    """Arm the failpoint that the environment names, if it names one.

    Args:
        names: the effects of this program; each has a point `.before` and one `.after`.
        environment: where `FEDGE_FAILPOINT` is looked up.

    Raises:
        ConfigError: there is no such failpoint in this program.
    """
    global _armed
    text = environment.get(VARIABLE, "")
    if not text:
        _armed = None
        return
    found = re.fullmatch(r"((\w+)\.(?:before|after))(?::([1-9]\d{0,8}))?", text)
    known = sorted(names)
    if found is None or found[2] not in known:
        raise ConfigError(
            f"environment variable {VARIABLE}: {text!r} is no failpoint of this program; expected "
            f"NAME.before or NAME.after, and :N for the N-th time, with NAME one of {', '.join(known)}"
        )
    _armed = _Armed(found[1], int(found[3] or 1))


def before(what: object) -> None:
    """Reached before an effect, or before the moment that has this name."""
    if _armed is not None:
        _armed.reach(what, "before")


def after(what: object) -> None:
    """Reached after it."""
    if _armed is not None:
        _armed.reach(what, "after")
