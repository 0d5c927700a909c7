"""Where a deliberate mistake stands: over a core's steps, or over the stream of effects that a host performs.

A core is `step(state, event) -> (state, effects)`. A wrong one is a function of the same and of the right
step: it changes what goes in or what comes out, and knows nothing of how the right one decides. A host
performs effects at its ports, the link and the disk: a wrong one some of them itself, too early or too late.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from aggregator.core.arrivals import one_by_one
from aggregator.core.events import UpdatesArrived
from fedge.transport import Publication
from fleet.simulator.hosts import Host

Patch = pytest.MonkeyPatch
Step = Callable[[Any, Any], tuple[Any, list[Any]]]
Wrong = Callable[[Step, Any, Any], tuple[Any, list[Any]]]
WrongHost = Callable[[Any, Step, Any, Any], tuple[Any, list[Any]]]


def over_core(patch: Patch, core: ModuleType, wrong: Wrong) -> None:
    """Let `wrong` decide in a core's place: it is given the right step, the state and the event."""
    right: Step = core.step
    patch.setattr(core, "step", _for_each(lambda state, event: wrong(right, state, event)))


def over_host(patch: Patch, core: ModuleType, wrong: WrongHost) -> None:
    """As `over_core`; `wrong` is also given the host at work, and may perform effects at its ports."""
    at_work: list[Host] = []

    def watched(turn: Callable[..., None]) -> Callable[..., None]:
        def remembered(self: Host, *events: Any) -> None:
            at_work.append(self)
            try:
                turn(self, *events)
            finally:
                at_work.pop()

        return remembered

    for kind in _kinds(Host):
        for name in ("begin", "turn"):
            if name in vars(kind):
                patch.setattr(kind, name, watched(vars(kind)[name]))
    right: Step = core.step
    patch.setattr(core, "step", _for_each(lambda state, event: wrong(at_work[-1], right, state, event)))


def _for_each(step: Step) -> Step:
    """The step that handles updates that arrived together one by one, so that a wrong one sees each."""

    def stepped(state: Any, event: Any) -> tuple[Any, list[Any]]:
        if isinstance(event, UpdatesArrived):
            return one_by_one(state, event, stepped)
        return step(state, event)

    return stepped


def before(effects: list[Any], kind: type, first: Callable[[Any], None]) -> None:
    """Perform something for each effect of a kind, before all of them are performed."""
    for effect in effects:
        if isinstance(effect, kind):
            first(effect)


def say(host: Host, publications: list[Publication]) -> None:
    """Publish at once."""
    assert host.link is not None
    host.link.send(publications)


def without(effects: list[Any], kind: type) -> list[Any]:
    """The stream without those of a kind."""
    return [effect for effect in effects if not isinstance(effect, kind)]


def _kinds(kind: type) -> list[type]:
    return [kind, *(below for each in kind.__subclasses__() for below in _kinds(each))]
