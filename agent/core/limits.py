"""The most that a federation may ask of this device: its owner's limits against a manifest. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.settings.limits import LimitsSettings
from agent.settings.sources import DEFAULT_SOURCE
from fedge.wire.messages.manifest import Manifest
from fedge.wire.reasons import Reason


@dataclass(frozen=True)
class Objection:
    """Why this device does not take part: what it says when it declines.

    It speaks of what is asked, what its owner allows and what was measured, and of nothing else.
    """

    reason: Reason
    detail: str
    """What others are told."""
    more: str = ""
    """What only the device's own log and `--check` add."""

    @property
    def full(self) -> str:
        """What the device's owner is told."""
        return f"{self.detail}, {self.more}" if self.more else self.detail


def beyond_plan(limits: LimitsSettings, manifest: Manifest) -> Iterator[Objection]:
    """What the plan asks beyond the limits."""
    plan = manifest.plan
    if plan is not None and limits.epochs is not None and plan.epochs > limits.epochs:
        detail = f"the plan asks for {plan.epochs} epochs, [limits] epochs is {limits.epochs}"
        yield Objection(Reason.TOO_MANY_EPOCHS, detail)


def beyond_sources(limits: LimitsSettings, offered: frozenset[str], asked: str | None) -> Iterator[Objection]:
    """Why the source a task asks for is not used; `asked` None: it names none, and means the default."""
    name = asked or DEFAULT_SOURCE
    if name not in offered:
        detail = f"the task asks for the source {name!r}, which this device does not have"
        yield Objection(Reason.UNKNOWN_SOURCE, detail, f"it has {_names(offered)}")
    elif limits.sources is not None and name not in limits.sources:
        detail = f"the task asks for the source {name!r}, which [limits] sources does not allow"
        yield Objection(Reason.FORBIDDEN_SOURCE, detail, f"it allows {_names(limits.sources)}")


def expected_bytes(manifest: Manifest, *, task: bool, model: bool, update: bool) -> int:
    """About how many bytes a round moves: what is still to be fetched, and an update as large as its model.

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
    """Why so many bytes more are not moved today."""
    if limits.bytes_per_day is not None and spent + expected > limits.bytes_per_day:
        detail = (
            f"the round moves about {expected} bytes and {spent} were moved today, "
            f"[limits] bytes_per_day is {limits.bytes_per_day}"
        )
        yield Objection(Reason.OVER_BYTE_BUDGET, detail)


def _names(names: frozenset[str] | tuple[str, ...]) -> str:
    return ", ".join(sorted(names)) or "none"
