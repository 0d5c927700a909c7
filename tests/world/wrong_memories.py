"""Devices that keep the state of an algorithm wrongly."""

from dataclasses import replace
from typing import Any

from agent.core import effects as agent_do
from agent.core import lifecycle
from agent.core.device import Asking
from agent.core.state import AlgorithmState
from agent.shell.memory import Memory
from fedge.wire.freshness import RoundId
from fleet.simulator.invariants import Invariant
from tests.world.streams import Step, over_core
from tests.world.variant import Patch, Stepped, Variants, noted_in

VARIANTS: Variants = {}
variant = noted_in(VARIANTS)


@variant(
    "a device without a receipt treats its update as refused",
    Invariant.STATE_COUNTS_ONCE,
    within=100,
    needs=["a state"],
)
def what_became_of_an_update_guessed(patch: Patch) -> None:
    """A device that has received no receipt works on the next round as if its update was refused."""

    def hasty(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        if isinstance(after.work, Asking) and not isinstance(state.work, Asking):
            return step(replace(state, saved=None), event)
        return after, effects

    over_core(patch, lifecycle, hasty)


@variant(
    "a device uses a new state before the verdict on its update",
    Invariant.STATE_COUNTS_ONCE,
    within=100,
    needs=["a state"],
)
def a_state_that_waits_for_no_verdict(patch: Patch) -> None:
    """The newest state is used whatever the verdict, so that a repeated training applies it twice."""

    def newest(self: Memory) -> AlgorithmState | None:
        row = self._db.execute(
            "SELECT generation, round, lineage, data FROM states ORDER BY generation DESC, round DESC"
        ).fetchone()
        return AlgorithmState(RoundId(row[0], row[1]), row[2], row[3]) if row else None

    patch.setattr(Memory, "state", newest)


@variant(
    "a device keeps its old state after its update was admitted",
    Invariant.STATE_COUNTS_ONCE,
    within=20,
    needs=["a state"],
)
def a_verdict_that_moves_no_state(patch: Patch) -> None:
    """The first state stays, and is applied again in the next round."""
    first: dict[int, AlgorithmState | None] = {}

    def stays(self: Memory) -> AlgorithmState | None:
        return first.setdefault(id(self), right(self))

    right = Memory.state
    patch.setattr(Memory, "state", stays)


@variant(
    "a device without a receipt resets its state instead of asking",
    Invariant.STATE_COUNTS_ONCE,
    within=100,
    needs=["a state"],
)
def a_state_given_up_instead_of_asked_about(patch: Patch) -> None:
    """A device that has received no receipt resets its state, as if nobody knew the verdict."""

    def careless(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        if isinstance(after.work, Asking) and not isinstance(state.work, Asking):
            after, effects = step(replace(state, saved=None, remembers=None), event)
            return after, [agent_do.ResetState(), *effects]
        return after, effects

    over_core(patch, lifecycle, careless)
