"""What a round requires of a device, and what a program can do: the same names on both sides.

A manifest lists the names that its round `requires`; a device's status lists the names that it `can`. A
device also checks the plan, the task and the model themselves, whatever the manifest lists, so that it never
takes part in a round that it only half understands.

| name | what |
|---|---|
| `phase:NAME` | a kind of round: `survey`, `train`, `evaluate`, `masked` |
| `local:NAME` | a local algorithm (`fedge.algorithms.local`); `local:NAME.OPTION`: one of its options |
| `codec:NAME` | how a vector becomes bytes (`fedge.algorithms.codecs`); `codec:NAME.OPTION` as above |
| `personal:NAME` | a personal model (`fedge.algorithms.personal`); `personal:NAME.OPTION` as above |
| `layer:NAME` | a layer of the network (`fedge.nn.layers`); `layer:NAME.FIELD`: a field added to one later |
| `loss:NAME`, `network:NAME` | another loss, another part of a network |
| `plan:NAME` | a field of the plan (`fedge.algorithms.plan`) that came after 0.2.0 |
| `data:NAME` | a rule for reading data (`fedge.data.rules`) that the task proposes and requires to be known |
| `state:NAME` | a state of the round |
| `schedule:NAME` | what a schedule other than one round after the other asks of devices |
| `protection:NAME` | what a promised protection asks of devices: to withhold figures, to add noise, to mask |
| `model:CODEC` | a coded form of the announced model (`fedge.wire.models`) |
| `task:unreadable`, `model:unreadable` | what was announced cannot be read |
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from fedge.algorithms.plan import PartOptions, Plan
from fedge.algorithms.registry import CODECS, LAYERS, LOCAL, PERSONAL, Entry, Registry
from fedge.data.rules import NAMES, Proposal
from fedge.nn.layer import kinds
from fedge.nn.spec import LOSSES, NetworkSpec, names_of
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.model import Model
from fedge.wire.messages.protection import Protection
from fedge.wire.messages.task import Task
from fedge.wire.models import CHANGES, WHOLE

PHASE_NAMES = ("survey", "train", "evaluate", "masked")
STATES = ("open", "done")
BUFFERED = "schedule:buffered"
"""A device goes on with its work when a newer round is announced."""
CENTRAL = "protection:central"
"""A device tells no figures about its rows besides the update; the server adds noise to the sum."""
DISTRIBUTED = "protection:distributed"
"""As `CENTRAL`; a device adds its share of the noise before it masks."""
MASKED = "protection:masked"
"""A device sends its update only under masks."""

GROUPS = "protection:masked.groups"
"""A device promises with random bytes, and finds its group from those of all."""

OF_MODEL = frozenset({"layer", "loss", "model", "network"})
"""The registries that a model depends on: a device that knows all its names in these can predict with it."""

BASE = frozenset(
    {
        *(f"phase:{name}" for name in ("survey", "train")),
        "local:sgd",
        "codec:float32",
        *(f"layer:{name}" for name in ("dense", "relu", "tanh", "sigmoid", "standardize", "rescale")),
    }
)
"""The names of a device of 0.2.0, whose status does not list them."""
BASE_PLAN = frozenset({"epochs", "batch_size", "learning_rate", "momentum", "weight_decay", "codec"})
"""The plan's fields that 0.2.0 obeys: they belong to `local:sgd`."""


def can() -> frozenset[str]:
    """The names of this program, with the extensions that it has loaded."""
    return _named(tuple(tuple(registry.entries().values()) for registry in (LAYERS, LOCAL, CODECS, PERSONAL)))


@lru_cache(maxsize=4)
def _named(loaded: tuple[tuple[Entry[Any], ...], ...]) -> frozenset[str]:
    """As `can`, made once for these parts: it is asked of each task and each model."""
    return frozenset(
        {
            BUFFERED,
            CENTRAL,
            DISTRIBUTED,
            MASKED,
            GROUPS,
            *(f"phase:{name}" for name in PHASE_NAMES),
            *(f"layer:{name}" for kind in kinds() for name in (kind.named(), *kind.later())),
            *(f"data:{name}" for name in NAMES),
            *(f"model:{name}" for name in WHOLE + CHANGES),
            *(f"plan:{name}" for name in Plan.model_fields if name not in BASE_PLAN),
            *(name for registry in (LOCAL, CODECS, PERSONAL) for name in _of_registry(registry)),
        }
    )


@lru_cache(maxsize=16)
def required(
    phase: str, plan: Plan | None, network: NetworkSpec, rules: Proposal | None = None
) -> frozenset[str]:
    """What a round requires of a device, to be listed in its manifest."""
    return frozenset(
        {
            f"phase:{phase}",
            *_of_network(network),
            *_of_rules(rules),
            *(_of_plan(plan) if plan is not None else ()),
        }
    )


def of_manifest(manifest: Manifest) -> frozenset[str]:
    """The names that a manifest requires: those that it lists, and those that follow from its content."""
    return frozenset(
        {
            *(manifest.requires or ()),
            f"phase:{manifest.kind}",
            *(() if manifest.state in STATES else (f"state:{manifest.state}",)),
            *(() if manifest.max_staleness is None else (BUFFERED,)),
            *of_protection(manifest.protection),
            *(_of_plan(manifest.plan) if manifest.plan is not None else ()),
        }
    )


def of_protection(protection: Protection | None) -> frozenset[str]:
    """What a promised protection asks of devices: without it, it would be promised and not kept."""
    if protection is None:
        return frozenset()
    names = () if protection.privacy is None else (f"protection:{protection.privacy.mechanism}",)
    if protection.masked is not None:
        names = (*names, MASKED, *(() if protection.masked.groups is None else (GROUPS,)))
    return frozenset(names)


def of_model(manifest: Manifest) -> frozenset[str]:
    """The required names that are needed to use the model, without taking part in the round."""
    return frozenset(name for name in manifest.requires or () if name.partition(":")[0] in OF_MODEL)


def lacking(needed: frozenset[str], can: frozenset[str]) -> tuple[str, ...]:
    """The needed names that are missing, in order."""
    return () if needed <= can else tuple(sorted(needed - can))


def unknown_in_task(task: Task) -> tuple[str, ...]:
    """The names in a task that this program does not know."""
    return lacking(frozenset({*_of_network(task.network), *_of_rules(task.rules)}), can())


def unknown_in_model(model: Model) -> tuple[str, ...]:
    """The names in a model that this program does not know."""
    if model.size is not None:
        return lacking(frozenset({f"model:{model.codec}"}), can())
    return lacking(frozenset({f"codec:{model.codec}"}), can())


def passed_over(needed: frozenset[str]) -> tuple[str, ...]:
    """The needed names that a device of 0.2.0 would ignore and train without, in order.

    Such a device does not read what a manifest requires. But it refuses a manifest of another kind or state,
    and a network with a layer, or a field of one, that it does not know. Rules for data are proposals, which
    an owner may have set otherwise. A schedule says when updates are sent, and not how they are made. A coded
    model never becomes the model that such a device was told of.
    """
    refused = ("layer", "data", "model", "phase", "state", "schedule")
    return tuple(name for name in lacking(needed, BASE) if name.partition(":")[0] not in refused)


@lru_cache(maxsize=256)
def told(can: tuple[str, ...] | None) -> frozenset[str]:
    """The names of a device with this status field; a device of 0.2.0 has none.

    Most devices of a fleet list the same names, so equal sets are one object.
    """
    return BASE if can is None else frozenset(can)


def _of_plan(plan: Plan) -> Iterator[str]:
    yield from _of_part("local", plan.local_name, plan.local_options)
    yield from _of_part("codec", plan.codec, plan.codec_options)
    if plan.personal is not None:
        yield from _of_part("personal", plan.personal, plan.personal_options)
    asked = (name for name in Plan.model_fields if getattr(plan, name) is not None)
    yield from (f"plan:{name}" for name in (*asked, *plan.unknown) if name not in BASE_PLAN)


def _of_part(kind: str, name: str, options: PartOptions | None) -> Iterator[str]:
    yield f"{kind}:{name}"
    yield from (f"{kind}:{name}.{option}" for option in options or ())


def _of_registry(registry: Registry[Any]) -> Iterator[str]:
    for name, entry in registry.entries().items():
        yield from _of_part(registry.kind, name, dict.fromkeys(entry.options.model_fields, True))


def _of_rules(rules: Proposal | None) -> Iterator[str]:
    if rules is not None and rules.required:
        yield from (f"data:{name}" for name in (*rules.proposed, *rules.unknown))


def _of_network(network: NetworkSpec) -> Iterator[str]:
    yield from (f"layer:{name}" for layer in network.layers for name in names_of(layer))
    if network.loss not in LOSSES:
        yield f"loss:{network.loss}"
    yield from (f"network:{name}" for name in network.unknown)
