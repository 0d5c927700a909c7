"""What is found in a device's data, as the tests ask for it."""

from typing import Any

import pytest

from agent.data.assessment import assess
from agent.data.dataset import fit
from agent.data.finding import Finding
from agent.data.unfit import Unfit
from agent.settings.data import DataSettings
from agent.sources import Samples
from fedge.wire.messages.task import Task
from tests.agent.test_dataset import WALK_RUN

GOOD = "".join(f"{i},{2 * i},{'walk' if i % 2 else 'run'}\n" for i in range(40))


def problems(samples: Samples, task: Task | None, **settings: Any) -> list[Finding]:
    """What is wrong; and where a task is given the device declines just then."""
    data = DataSettings(**settings)
    found = list(assess(samples, data, task).problems)
    if task is not None:
        try:
            fit(samples, task, data)
        except Unfit:
            assert found, "the device declines, and the check is content"
        else:
            assert not found, "the check finds fault, and the device takes part"
    return found


def warnings(samples: Samples, task: Task | None, **settings: Any) -> list[Finding]:
    return list(assess(samples, DataSettings(**settings), task).warnings)


def kinds(found: list[Finding]) -> set[str]:
    return {one.kind for one in found}


TASKS = pytest.mark.parametrize("task", [WALK_RUN, None], ids=["with a task", "without"])
