"""Write docs/transitions.md: the transitions of the three state machines, recorded in simulated worlds.

`python -m fleet.cli.transitions FILE` writes the page. Nothing in it is written by hand: the code declares
the states and events, and the real `step` took each transition in some world. A new state or event gets its
rows when a world reaches it; until then the page names it as unseen.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_args

from agent.core import device, lifecycle
from agent.core import effects as agent_effects
from agent.core import events as agent_events
from aggregator.core import effects as round_effects
from aggregator.core import events as round_events
from aggregator.core import federation, rounds, takeover
from fleet.simulator.campaign import run

SEEDS = range(100)
"""The seeds of the worlds that are recorded."""
_INTRODUCTION = f"""\
# Transitions

This page shows the transitions of the three state machines in the programs' cores
([architecture.md](architecture.md#the-cores-and-their-shells)). `make docs` generates it: it runs the real
`step` functions in {len(SEEDS)} simulated worlds ([world.md](world.md)), and records every transition that
changes something. The programs may take other transitions in cases that these worlds do not contain.

A row applies to all states in the column "in". A dash under "becomes" means that the machine stays in its
state. An effect in parentheses follows only sometimes. Effects are listed in the order in which the code
declares them, which is not always the order in which the programs perform them.
"""


class Transition(NamedTuple):
    """The names of a state, an event, and the state that follows."""

    before: str
    event: str
    after: str


@dataclass
class Seen:
    """How often a transition was taken, and how often each effect followed."""

    times: int = 0
    effects: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Machine:
    """A state machine: its `step` function, and the names of its states."""

    title: str
    about: str
    module: ModuleType
    """The module whose `step` the programs call."""
    states: tuple[str, ...]
    state_of: Callable[[Any], str]
    events: tuple[str, ...]
    effects: tuple[str, ...]


def _names(union: Any) -> tuple[str, ...]:
    return tuple(member.__name__ for member in get_args(union))


def _takeover_state(state: takeover.Takeover) -> str:
    if state.over:
        return "over"
    if state.watch is None:
        return "away"
    return "subscribing" if state.subscribed_s is None else "watching"


MACHINES: Mapping[str, Machine] = {
    "round": Machine(
        "The aggregator's round",
        "`aggregator/core/rounds.py`; the states are `Stage` in `aggregator/core/federation.py`.",
        rounds,
        tuple(stage.name for stage in federation.Stage),
        lambda state: str(state.stage.name),
        _names(round_events.Event),
        _names(round_effects.Effect),
    ),
    "work": Machine(
        "The device's work",
        "`agent/core/lifecycle/machine.py`; the states are `Work` in `agent/core/device.py`.",
        lifecycle,
        _names(device.Work),
        lambda state: type(state.work).__name__,
        _names(agent_events.Event),
        _names(agent_effects.Effect),
    ),
    "takeover": Machine(
        "The aggregator's takeover",
        "`aggregator/core/takeover/machine.py`: away (no connection), subscribing (the broker has not "
        "answered), watching (retained messages arrive), over.",
        takeover,
        ("away", "subscribing", "watching", "over"),
        _takeover_state,
        _names(takeover.Event),
        _names(takeover.Effect),
    ),
}

Record = dict[Transition, Seen]


@contextmanager
def _recorded(machine: Machine, record: Record) -> Iterator[None]:
    """Record the transitions of `step` while the programs run it."""
    step = machine.module.step

    def recording(state: Any, event: Any) -> Any:
        after, effects = step(state, event)
        if after is not state or effects:
            names = (machine.state_of(state), type(event).__name__, machine.state_of(after))
            seen = record.setdefault(Transition(*names), Seen())
            seen.times += 1
            seen.effects.update({type(effect).__name__ for effect in effects})
        return after, effects

    vars(machine.module)["step"] = recording
    try:
        yield
    finally:
        vars(machine.module)["step"] = step


def observe(seeds: range) -> Mapping[str, Record]:
    """Record what each machine does in these worlds, by the machine's name."""
    records: dict[str, Record] = {}
    with ExitStack() as stack:
        for name, machine in MACHINES.items():
            stack.enter_context(_recorded(machine, records.setdefault(name, {})))
        run(seeds)
    return records


def page() -> str:
    """Return the whole page."""
    records = observe(SEEDS)
    parts = [_INTRODUCTION]
    for name, machine in MACHINES.items():
        parts.append(f"\n## {machine.title}\n\n{machine.about}\n")
        parts.append("\n| event | in | becomes | effects |\n|---|---|---|---|\n")
        parts += _rows(machine, records[name])
        parts += _unseen(machine, records[name])
    return "".join(parts)


def _rows(machine: Machine, record: Record) -> Iterator[str]:
    """Yield a row for each event that keeps the state, and one for each transition to another state."""
    for event in machine.events:
        ways = [way for way in record if way.event == event]
        stays = [way for way in ways if way.before == way.after]
        for before in machine.states:
            for after in machine.states:
                if before == after and stays:
                    yield _row(machine, record, stays)
                    stays = []
                elif before != after and Transition(before, event, after) in ways:
                    yield _row(machine, record, [Transition(before, event, after)])


def _row(machine: Machine, record: Record, ways: Sequence[Transition]) -> str:
    """Format a row; an effect that did not always follow is in parentheses."""
    times, effects = 0, Counter[str]()
    for way in ways:
        times += record[way].times
        effects.update(record[way].effects)
    done = [
        f"`{name}`" if effects[name] == times else f"(`{name}`)" for name in machine.effects if effects[name]
    ]
    before = [state for state in machine.states if any(way.before == state for way in ways)]
    after = "–" if ways[0].before == ways[0].after else ways[0].after
    return f"| `{ways[0].event}` | {', '.join(before)} | {after} | {', '.join(done) or '–'} |\n"


def _unseen(machine: Machine, record: Record) -> Iterator[str]:
    """Yield a sentence each for the declared events and states that no world reached."""
    if events := [event for event in machine.events if not any(way.event == event for way in record)]:
        yield f"\nIn these worlds {_listed(events)} changed nothing.\n"
    if states := [state for state in machine.states if not any(state in (w.before, w.after) for w in record)]:
        yield f"\nThese worlds did not reach {_listed(states)}.\n"


def _listed(names: Sequence[str]) -> str:
    *first, last = (f"`{name}`" for name in names)
    return f"{', '.join(first)} or {last}" if first else last


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
