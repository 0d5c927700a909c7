"""Devices that keep their own models wrongly."""

from dataclasses import replace
from typing import Any

from agent.shell import personal_models
from agent.shell.memory import Memory
from fedge.algorithms.personal.ditto import Ditto
from fedge.algorithms.protocols import Adapted
from fedge.algorithms.trainer import Job
from fleet.simulator.invariants import Invariant
from tests.world.variant import Patch, Variants, noted_in

VARIANTS: Variants = {}
variant = noted_in(VARIANTS)


@variant(
    "a device trains its own model twice in a round",
    Invariant.OWN_MODEL,
    within=20,
    needs=["personal models"],
)
def an_own_model_trained_twice(patch: Patch) -> None:
    right = Ditto.adapt

    def twice(self: Ditto, job: Job, *more: Any) -> Adapted:
        return right(self, replace(job, state=right(self, job, *more).state), *more)

    patch.setattr(Ditto, "adapt", twice)


@variant(
    "a device has its own model in memory alone",
    Invariant.OWN_MODEL,
    within=20,
    needs=["personal models"],
)
def an_own_model_that_is_not_saved(patch: Patch) -> None:
    """It is gone after a restart, though the update that was saved with it counts."""
    save = Memory.save_update
    held: dict[Memory, Any] = {}

    def without(self: Memory, *given: Any) -> None:
        attempt, digest, payload, snapshot, pending, personal, older = (*given, *[None] * 7)[:7]
        if personal is not None:
            held[self] = personal
        save(self, attempt, digest, payload, snapshot, pending, None, older)

    patch.setattr(Memory, "save_update", without)
    patch.setattr(Memory, "personal", lambda self: held.get(self))


@variant(
    "a device keeps its own model only once its update counts",
    Invariant.OWN_MODEL,
    within=300,
    needs=["personal models"],
)
def an_own_model_that_waits_for_its_verdict(patch: Patch) -> None:
    """As the state of a local algorithm does. So a round whose update is refused is lost for it."""
    save, verdict = Memory.save_update, Memory.save_verdict
    waiting: dict[Memory, Any] = {}

    def without(self: Memory, *given: Any) -> None:
        attempt, digest, payload, snapshot, pending, personal, older = (*given, *[None] * 7)[:7]
        waiting[self] = personal
        save(self, attempt, digest, payload, snapshot, pending, None, older)

    def then(self: Memory, digest: bytes, said: str, *, resets: bool = False) -> None:
        verdict(self, digest, said, resets=resets)
        if said == "admitted" and (personal := waiting.pop(self, None)) is not None:
            with self._db:
                personal_models.replace(self._db, personal)

    patch.setattr(Memory, "save_update", without)
    patch.setattr(Memory, "save_verdict", then)
