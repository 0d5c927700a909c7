"""The owner's limits on what a federation may ask of this device, checked against a manifest. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.settings.limits import LimitsSettings
from agent.settings.sources import DEFAULT_SOURCE
from fedge.wire.messages.manifest import Manifest
from fedge.wire.reasons import Reason


@dataclass(frozen=True)
class Objection:
    """Why this device declines a round.

    The text has what is asked, what the owner allows and what was measured, and nothing else.
    """

    reason: Reason
    detail: str
    """The text for others."""
    more: str = ""
    """Further text for the device's own log and `--check` alone."""

    @property
    def full(self) -> str:
        """The text for the device's owner."""
        return f"{self.detail}, {self.more}" if self.more else self.detail


def beyond_plan(limits: LimitsSettings, manifest: Manifest) -> Iterator[Objection]:
    """Objections to a plan that exceeds the limits."""
    plan = manifest.plan
    if plan is not None and limits.epochs is not None and plan.epochs > limits.epochs:
        detail = f"the plan asks for {plan.epochs} epochs, [limits] epochs is {limits.epochs}"
        yield Objection(Reason.TOO_MANY_EPOCHS, detail)


def beyond_sources(limits: LimitsSettings, offered: frozenset[str], asked: str | None) -> Iterator[Objection]:
    """Objections to the source that a task asks for; `asked` None: it names none, so the default is meant."""
    name = asked or DEFAULT_SOURCE
    if name not in offered:
        detail = f"the task asks for the source {name!r}, which this device does not have"
        yield Objection(Reason.UNKNOWN_SOURCE, detail, f"it has {_names(offered)}")
    elif limits.sources is not None and name not in limits.sources:
        detail = f"the task asks for the source {name!r}, which [limits] sources does not allow"
        yield Objection(Reason.FORBIDDEN_SOURCE, detail, f"it allows {_names(limits.sources)}")


def expected_bytes(manifest: Manifest, *, task: bool, model: bool, update: bool) -> int:
    """Estimate the bytes of a round: what must still be fetched, and an update as large as its model.

    Args:
        manifest: the round.
        task: the task is to be fetched.
        model: the model is to be fetched.
        update: an update is to be sent. A survey describes the task's columns, and is about as large as it.
    """
    model_bytes = manifest.model.size if manifest.model is not None else 0
    made_bytes = model_bytes or manifest.task.size
    return task * manifest.task.size + model * model_bytes + update * made_bytes


def beyond_budget(limits: LimitsSettings, spent: int, expected: int) -> Iterator[Objection]:
    """Objections to moving so many more bytes today."""
    if limits.bytes_per_day is not None and spent + expected > limits.bytes_per_day:
        detail = (
            f"the round moves about {expected} bytes and {spent} were moved today, "
            f"[limits] bytes_per_day is {limits.bytes_per_day}"
        )
        yield Objection(Reason.OVER_BYTE_BUDGET, detail)


def _names(names: frozenset[str] | tuple[str, ...]) -> str:
    return ", ".join(sorted(names)) or "none"
