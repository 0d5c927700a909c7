"""Log lines that devices cause: logged once for each device and cause, then only counted.

However much a device sends, it causes at most about 30 lines at once and then one a minute. All counted lines
together cause one line an hour.
"""

import logging
from collections import Counter
from dataclasses import dataclass
from math import inf

from aggregator.core.buckets import LINES, Buckets

log = logging.getLogger("fedge.aggregator")

AGAIN_S = 3_600.0
"""After this time a cause is logged again, and the lines that were only counted are summed up."""
NAMED = 5
"""The largest number of devices named in the sum."""


@dataclass
class _Said:
    when_s: float = -inf
    since: int = 0
    """How often it was only counted since the last sum."""


class Reports:
    """Logs a line, or counts it. Causes have few names, so a device takes little memory.

    Args:
        to: the log.
    """

    def __init__(self, to: logging.Logger = log) -> None:
        self._log = to
        self._said: dict[str, dict[str, _Said]] = {}
        self._lines = Buckets()
        self._sum_due_s: float | None = None

    def tell(self, level: int, device: str, cause: str, text: str, now_s: float) -> None:
        """Log what a device causes, unless that was logged for it recently."""
        said = self._said.setdefault(device, {}).setdefault(cause, _Said())
        if now_s < said.when_s + AGAIN_S or not self._lines.take(device, 1, LINES, now_s):
            said.since += 1
            return
        said.when_s = now_s
        self._log.log(level, "%s", text)

    def renew(self, device: str) -> None:
        """Log the causes of a device anew from now on, because an update of it was admitted."""
        for said in self._said.get(device, {}).values():
            said.when_s = -inf

    def sum_up(self, now_s: float) -> None:
        """Log once an hour how many lines were only counted; called with each beat."""
        if self._sum_due_s is None:
            self._sum_due_s = now_s + AGAIN_S
        if now_s < self._sum_due_s:
            return
        self._sum_due_s = now_s + AGAIN_S
        counts = {
            device: Counter({c: said.since for c, said in causes.items() if said.since})
            for device, causes in self._said.items()
        }
        counts = {device: causes for device, causes in counts.items() if causes}
        self._said = {
            device: {c: _Said(said.when_s) for c, said in causes.items() if now_s < said.when_s + AGAIN_S}
            for device, causes in self._said.items()
        }
        if not counts:
            return
        most = sorted(counts, key=lambda device: (-counts[device].total(), device))
        named = "; ".join(
            f"{device or 'unknown devices'} {counts[device].total()} "
            f"({', '.join(f'{cause} {n}' for cause, n in counts[device].most_common(NAMED))})"
            for device in most[:NAMED]
        )
        more = f"; {len(most) - NAMED} more devices" if len(most) > NAMED else ""
        total = sum(causes.total() for causes in counts.values())
        self._log.warning(
            "in the last hour %d more such lines were counted and not logged: %s%s", total, named, more
        )
