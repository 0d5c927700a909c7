"""Whether the parts of an algorithm may change within a generation. Pure.

Most parts may. A restart makes no new generation, and two things outlast it: what devices and server keep of
earlier rounds, and updates of the open round that devices have made and not sent yet. So two kinds of local
algorithms neither begin nor end within a generation:

* one whose state on the devices belongs to something that the server keeps (`scaffold` to the announced
  control vector, `dyn` to the state of its server optimizer). With other options or another codec, too, the
  devices' states would begin anew, and the server's would not.
* one whose `weights` only its own rule can read (`nova`). An update of `sgd` read by the rule `nova` would
  count as many times over as it has steps, and `max_norm` would compare lengths of two kinds.

The number of shared models (`[personal] name = "clusters"`) does not change within a generation either. Nor
does the federation's seed while a codec may need it to read an update.
"""

from typing import Any

from aggregator.core.parts import Part, Parts
from fedge.algorithms.registry import CODECS, LOCAL, Registry

COMMON = "mean"
"""The rule that reads the `weights` of a usual local algorithm."""


def unfit_change(before: Parts, now: Parts) -> str | None:
    """Why a generation that trains with parts cannot go on with others; None: it can.

    Args:
        before: the parts of the open round of training, or of the last closed one.
        now: the configured parts.
    """
    if len(before.models) != len(now.models):
        return (
            f"[personal] name = {_told(before.personal)} of this generation cannot change to "
            f"{_told(now.personal)} within it, because it has {len(before.models)} shared models and not "
            f"{len(now.models)}: change it back, or begin a new generation with "
            "`fedge-aggregator new-generation`"
        )
    if before.seed not in (None, now.seed) and before.codec.name == now.codec.name and not _exact(now.codec):
        return (
            f"[federation] seed = {before.seed} of this generation cannot change to {now.seed} within it, "
            f"because devices have encoded updates with it, by the codec {now.codec.name!r}: change it back, "
            "or begin a new generation with `fedge-aggregator new-generation --keep-model`"
        )
    changed = [] if _same(LOCAL, before.local, now.local) else [f"local = {_told(before.local)}"]
    if keeps_in_step(before.local) and not _same(CODECS, before.codec, now.codec):
        changed.append(f"codec = {_told(before.codec)}")
    tied = [each.name for each in (before.local, now.local) if keeps_in_step(each) or only_rules(each)]
    if not changed or not tied:
        return None
    return (
        f"[plan] {' and '.join(changed)} of this generation cannot change within it, because {tied[0]!r} "
        "neither begins nor ends between two rounds: change it back, or begin a new generation with "
        "`fedge-aggregator new-generation --keep-model`"
    )


def keeps_in_step(local: Part) -> bool:
    """Whether the devices' state belongs to something that the server keeps."""
    entry = LOCAL.entries().get(local.name)
    if entry is None:
        return False
    made = local.made(LOCAL)
    return bool(made.init(1)) and (bool(made.receives) or any(need.kind == "server" for need in entry.needs))


def _exact(codec: Part) -> bool:
    """Whether any seed reads what the codec has written; False if its class does not say so."""
    return getattr(codec.made(CODECS), "exact", False) is True


def only_rules(local: Part) -> tuple[str, ...]:
    """The only rules that can read what it sends as `weights`; (): the usual ones can."""
    entry = LOCAL.entries().get(local.name)
    needs = entry.needs if entry is not None else ()
    return next((n.names for n in needs if n.kind == "rule" and n.names and COMMON not in n.names), ())


def _same(registry: Registry[Any], before: Part, now: Part) -> bool:
    """Whether two parts are the same; an option that the older one lacks has its default."""
    try:
        return Part.of(registry, before.name, before.given) == now
    except ValueError:
        return False


def _told(part: Part) -> str:
    return f'"{part.name}" with {part.options}' if part.given else f'"{part.name}"'
