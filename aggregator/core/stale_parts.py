"""Whether the parts of an algorithm can work with updates from older models. Pure.

With the schedule `buffered` an update may be made from an older model than the newest, and counts less for it
(`aggregator.aggregation.staleness`). Three kinds of parts cannot work with that:

* a local algorithm whose state on the devices belongs to something that the server keeps (`scaffold`, `dyn`):
  both change with each round, so a stale update changes the server's by what the device no longer has;
* a local algorithm whose `weights` only its own rule can read (`nova`): its steps are normalized with those
  of the other devices of one round, which began from one model;
* a rule that does not look at n_k: it would count a stale update in full.
"""

import json

from aggregator.core.part_changes import COMMON, keeps_in_step, only_rules
from aggregator.core.parts import Part, Parts
from fedge.algorithms.registry import LOCAL

UNIFORM = ("weights", "uniform")
"""The option of the rule `mean` with which each device counts the same."""


def unfit_for_stale(parts: Parts) -> str | None:
    """Why these parts cannot work with updates from older models, and what to set; None: they can."""
    if (why := _unfit_local(parts.local)) is not None:
        fitting = [json.dumps(name) for name in sorted(LOCAL.names()) if _fits(name)]
        return _text(f'[plan] local = "{parts.local.name}"', why, f"[plan] local to {' or '.join(fitting)}")
    if parts.rule.name == COMMON and parts.rule.given.get(UNIFORM[0]) == UNIFORM[1]:
        why = "each update counts the same in it, so an update from an old model would count in full"
        return _text(f'[rule] {UNIFORM[0]} = "{UNIFORM[1]}"', why, f'[rule] {UNIFORM[0]} = "samples"')
    return None


def _unfit_local(local: Part) -> str | None:
    if keeps_in_step(local):
        return "its state on the devices belongs to what the server keeps, and both change with each version"
    if (rules := only_rules(local)) and COMMON not in rules:
        return f'its rule "{rules[0]}" normalizes steps that begin from one model'
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
