"""Whether the parts of an algorithm can work together, before any device is asked. Pure."""

import re

from aggregator.core.parts import Parts
from fedge.algorithms.composition import KINDS, Choice, Composition, unfit
from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import cluster_names
from fedge.algorithms.registry import CODECS, RULES
from fedge.wire.messages.fields import MAX_SIZE, MAX_VECTORS, VECTOR_NAME


def incompatibility(parts: Parts, size: int, plan: Plan | None = None) -> str | None:
    """Why these parts cannot work on a model of `size` weights, and what to do; None: they can.

    Args:
        parts: the chosen parts.
        size: of the model, in weights.
        plan: what devices do in a round; default: that of `Plan()`.
    """
    chosen = {kind: getattr(parts, kind) for kind in KINDS}
    choices = {kind: Choice.of(kind, part.name, part.given) for kind, part in chosen.items()}
    if (fault := unfit(Composition(plan or Plan(), choices))) is not None:
        return fault
    local, sends, receives = parts.local.name, parts.sends, parts.hands_on
    if untold := sorted(set(receives) - set(sends)):
        return (
            f"[plan] local: {local!r} receives {', '.join(untold)}, which no device sends: a vector that is "
            "announced is the aggregate of the vectors of that name"
        )
    for name in (*sends, *receives):
        if re.fullmatch(VECTOR_NAME, name) is None or name in cluster_names(1 + MAX_VECTORS):
            return f"[plan] local: {local!r} calls a vector {name!r}, expected {VECTOR_NAME}"
    if max(len(sends), len(receives)) > MAX_VECTORS:
        return f"[plan] local: {local!r} sends or receives more than {MAX_VECTORS} vectors"
    if len(parts.models) > 1 and parts.codec.made(CODECS).init(1):
        return (
            f"[plan] codec: {parts.codec.name!r} keeps a state on the device, which belongs to one model. "
            f"With [personal] name {parts.personal.name!r} a device may train another one in the next round: "
            "choose another codec"
        )
    announced = 4 * size * len(parts.models)
    if len(parts.models) > 1 and announced + 65_536 > MAX_SIZE:
        return (
            f"[personal] name: {len(parts.models)} models of {size} weights take {announced} bytes, "
            f"and a message has {MAX_SIZE} at most: choose fewer, or make the network smaller"
        )
    rule = parts.rule.made(RULES)
    if not isinstance(getattr(rule, "version", None), str):
        return (
            f"[rule] name: {parts.rule.name!r} has no version, which each closed round must name; give it one"
        )
    if not hasattr(rule, "init"):
        return (
            f"[rule] name: {parts.rule.name!r} has no `init`: derive it from fedge.algorithms.protocols.Rule"
        )
    most = parts.codec.made(CODECS).max_bytes(size) * (1 + len(sends))
    if most + 65_536 > MAX_SIZE:
        return (
            f"[plan] codec: an update of {size} weights may take {most} bytes with {parts.codec.name!r}, "
            f"and a message has {MAX_SIZE} at most: make the network smaller, or choose another codec"
        )
    return None
