"""What a device's owner allows it at this moment: limits and manners against its state. Pure."""

from collections.abc import Iterator

from agent.device import Device
from agent.limits import Objection, beyond_budget, beyond_plan, beyond_sources, expected_bytes
from agent.manners import objections
from fedge.messages import Manifest


def objections_to_work(state: Device, manifest: Manifest) -> Iterator[Objection]:
    """All that speaks against the work of a round, by what is known of it so far."""
    yield from beyond_plan(state.limits, manifest)
    if not state.lacks_task:
        yield from objections_to_source(state)
    yield from objections(state.manners, state.readings)
    expected = expected_bytes(manifest, task=state.lacks_task, model=state.lacks_model, update=True)
    yield from beyond_budget(state.limits, state.readings.spent, expected)


def objections_to_source(state: Device) -> Iterator[Objection]:
    """All that speaks against the source which the task at hand names."""
    yield from beyond_sources(state.limits, state.offered, state.source)


def can_follow(state: Device) -> bool:
    """Whether what is still to be fetched, only to follow the model, is within today's budget."""
    assert state.manifest is not None
    expected = expected_bytes(state.manifest, task=state.lacks_task, model=state.lacks_model, update=False)
    return _can_afford(state, expected)


def used_up(state: Device) -> bool:
    """Whether today's bytes are used up: not even one more is allowed."""
    return not _can_afford(state, 1)


def _can_afford(state: Device, expected: int) -> bool:
    return not any(beyond_budget(state.limits, state.readings.spent, expected))
