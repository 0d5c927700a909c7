"""The limits and conditions because of which a device would decline any round now."""

import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from agent.config import AgentSettings
from agent.core.conditions import objections
from agent.core.limits import beyond_budget
from agent.shell.measured_conditions import Conditions, this_host, today
from agent.shell.memory_layout import FILE
from agent.shell.memory_views import read_moved
from agent.shell.traffic import TrafficBudget


@dataclass(frozen=True)
class _WrittenDown:
    """Reads the day's bytes from a device's database. It writes nothing."""

    path: Path

    def moved(self) -> tuple[str, int]:
        return read_moved(self.path)

    def save_moved(self, day: str, count: int) -> None:
        pass


def current_objections(settings: AgentSettings) -> dict[str, str]:
    """Return why this device would decline any round now: texts by reason."""
    host = this_host()
    notebook = _WrittenDown(settings.state.folder / FILE)
    meter = TrafficBudget(notebook, settings.limits.bytes_per_day, lambda: today(host), time.monotonic)
    meter.count(0)
    readings = Conditions(settings, host, meter).read()
    against = chain(
        objections(settings.conditions, readings), beyond_budget(settings.limits, readings.spent, expected=1)
    )
    return {objection.reason: objection.full for objection in against}
