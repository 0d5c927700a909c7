"""Whether the parts of an algorithm can work with updates from older models. Pure.

With the schedule `buffered` an update may be made from an older model than the newest, and counts less for it
(`aggregator.aggregation.staleness`). Five kinds of parts cannot work with that:

* a local algorithm whose state on the devices belongs to something that the server keeps (`scaffold`, `dyn`):
  both change with each round, so a stale update changes the server's by what the device no longer has;
* a local algorithm whose `weights` only its own rule can read (`nova`): its steps are normalized with those
  of the other devices of one round, which began from one model;
* a rule that does not look at n_k (`fedge.algorithms.protocols.Rule.weighted`): it would count a stale
  update in full. The bounds of robust rules are for updates that began from one model;
* a personal model with several shared models (`clusters`): each update is measured from the shared model that
  its device trained, and of older versions only the first of them is read;
* a personal model whose updates have only a part of the entries (`head`): the entries that a device keeps
  were trained together with shared ones of its own version.
"""

import json

from aggregator.core.part_changes import COMMON, keeps_in_step, only_rules
from aggregator.core.parts import Part, Parts
from fedge.algorithms.registry import LOCAL, RULES

UNIFORM = ("weights", "uniform")
"""The option of the rule `mean` with which each device counts the same."""


def unfit_for_stale(parts: Parts, *, part: bool = False) -> str | None:
    """Why these parts cannot work with updates from older models, and what to set; None: they can.

    Args:
        parts: the chosen parts.
        part: whether updates have only a part of the entries (`aggregator.core.shared_entries`).
    """
    if (why := _unfit_local(parts.local)) is not None:
        fitting = [json.dumps(name) for name in sorted(LOCAL.names()) if _fits(name)]
        return _text(f'[plan] local = "{parts.local.name}"', why, f"[plan] local to {' or '.join(fitting)}")
    if parts.rule.name == COMMON and parts.rule.given.get(UNIFORM[0]) == UNIFORM[1]:
        why = "each update counts the same in it, so an update from an old model would count in full"
        return _text(f'[rule] {UNIFORM[0]} = "{UNIFORM[1]}"', why, f'[rule] {UNIFORM[0]} = "samples"')
    if not parts.rule.made(RULES).weighted:
        why = "each update counts the same in it, so an update from an old model would count in full"
        return _text(f'[rule] name = "{parts.rule.name}"', why, f'[rule] name to "{COMMON}"')
    if (why := _unfit_personal(parts, part)) is not None:
        others = '[personal] name to "ditto" or "finetune", with which all entries of one model are shared'
        return _text(f'[personal] name = "{parts.personal.name}"', why, others)
    return None


def _unfit_local(local: Part) -> str | None:
    if keeps_in_step(local):
        return "its state on the devices belongs to what the server keeps, and both change with each version"
    if (rules := only_rules(local)) and COMMON not in rules:
        return f'its rule "{rules[0]}" normalizes steps that begin from one model'
    return None


def _unfit_personal(parts: Parts, part: bool) -> str | None:
    if len(parts.models) > 1:
        return "each of several shared models has updates of its own, which are measured from the newest one"
    if part:
        return "a device's own layers would belong to shared ones of another version"
    return None


def _fits(name: str) -> bool:
    try:
        return _unfit_local(Part.of(LOCAL, name)) is None
    except ValueError:  # it has an option without a default
        return False


def _text(what: str, why: str, remedy: str) -> str:
    return (
        f'[rounds] schedule = "buffered" does not work with {what}: {why}. Set {remedy}; or set [rounds] '
        'schedule = "rounds"'
    )
