"""The owner's limits on what a federation may ask of this device, checked against a manifest. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.settings.limits import LimitsSettings
from agent.settings.sources import DEFAULT_SOURCE
from fedge.algorithms.cost import cost_of
from fedge.frozen import replace
from fedge.wire.messages.manifest import Manifest
from fedge.wire.reasons import Reason


@dataclass(frozen=True)
class Objection:
    """The reason why this device declines a round.

    The text says what is asked, what the owner allows and what was measured, and nothing else.
    """

    reason: Reason
    detail: str
    """The text that is sent."""
    more: str = ""
    """Further text, which only the device's own log and `--check` show."""

    @property
    def full(self) -> str:
        """The whole text, for the device's owner."""
        return f"{self.detail}, {self.more}" if self.more else self.detail


def beyond_plan(limits: LimitsSettings, manifest: Manifest) -> Iterator[Objection]:
    """Find objections to a plan that exceeds the limits."""
    plan = manifest.plan
    if plan is not None and limits.epochs is not None and plan.epochs > limits.epochs:
        detail = f"the plan asks for {plan.epochs} epochs, [limits] epochs is {limits.epochs}"
        yield Objection(Reason.TOO_MANY_EPOCHS, detail)


def beyond_room(limits: LimitsSettings, manifest: Manifest) -> Iterator[Objection]:
    """Find objections to the disk and memory that the round's algorithm takes (`fedge.algorithms.cost`), with
    those of the model's key frame."""
    plan, model = manifest.plan, manifest.model
    if plan is None or model is None or (limits.state_bytes is None and limits.memory_bytes is None):
        return
    cost = cost_of(plan, model.size)
    if cost is None:  # a part that this device lacks: it declines for that
        return
    key = manifest.key.size if manifest.key is not None else 0
    cost = replace(cost, state=cost.state + key, memory=cost.memory + key)
    own = " with models of the device's own ([personal])" if plan.adapts else ""
    if limits.state_bytes is not None and cost.state > limits.state_bytes:
        detail = (
            f"the algorithm {plan.local_name!r}{own} keeps about {cost.state} bytes on disk, "
            f"[limits] state_bytes is {limits.state_bytes}"
        )
        yield Objection(Reason.TOO_MUCH_STATE, detail)
    if limits.memory_bytes is not None and cost.memory > limits.memory_bytes:
        detail = (
            f"the algorithm {plan.local_name!r}{own} takes about {cost.memory} bytes of memory for its "
            f"vectors, [limits] memory_bytes is {limits.memory_bytes}"
        )
        yield Objection(Reason.TOO_MUCH_MEMORY, detail)


def beyond_sources(limits: LimitsSettings, offered: frozenset[str], asked: str | None) -> Iterator[Objection]:
    """Find objections to the source that a task asks for. `asked` None: the task means the default source."""
    name = asked or DEFAULT_SOURCE
    if name not in offered:
        detail = f"the task asks for the source {name!r}, which this device does not have"
        yield Objection(Reason.UNKNOWN_SOURCE, detail, f"it has {_names(offered)}")
    elif limits.sources is not None and name not in limits.sources:
        detail = f"the task asks for the source {name!r}, which [limits] sources does not allow"
        yield Objection(Reason.FORBIDDEN_SOURCE, detail, f"it allows {_names(limits.sources)}")


def expected_bytes(
    manifest: Manifest, *, task: bool, model: bool, update: bool, held: tuple[bytes | None, ...] = ()
) -> int:
    """Estimate the bytes of a round: what must still be fetched, and an update as large as its model.

    Args:
        manifest: the round.
        task: whether the task is to be fetched.
        model: whether the model is to be fetched.
        update: whether an update is to be sent. A survey describes the task's columns, and is about as large
            as the task.
        held: digests of models that need not be fetched as a key frame.
    """
    made_bytes = manifest.model.size if manifest.model is not None else manifest.task.size
    sent = manifest.coded or manifest.model
    model_bytes = sent.size if sent is not None else 0
    if manifest.key is not None and manifest.key.digest not in held:
        model_bytes += manifest.key.size
    return task * manifest.task.size + model * model_bytes + update * made_bytes


def beyond_budget(limits: LimitsSettings, spent: int, expected: int) -> Iterator[Objection]:
    """Find objections to moving `expected` more bytes today, after `spent` bytes."""
    if limits.bytes_per_day is not None and spent + expected > limits.bytes_per_day:
        detail = (
            f"the round moves about {expected} bytes and {spent} were moved today, "
            f"[limits] bytes_per_day is {limits.bytes_per_day}"
        )
        yield Objection(Reason.OVER_BYTE_BUDGET, detail)


def _names(names: frozenset[str] | tuple[str, ...]) -> str:
    return ", ".join(sorted(names)) or "none"
