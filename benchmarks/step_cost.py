"""Measure the CPU time of one event in the aggregator's core by the size of the fleet, without the ledger.

    python -m benchmarks.step_cost           # --quick: fewer turns; --json: one JSON object

A fleet of 1,000, 10,000 or 50,000 devices has answered the open round, which waits for 100 more. The
benchmark measures the CPU time of one event of each kind: an update of two frames, from its first frame to
its verdict; a device that goes offline, comes back, or declines; a tick of the clock. The state is an
immutable value, so each turn begins from the same one. The sizes take turns within one run, and the fastest
turn of each counts, because other programs disturbed it least.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import rounds
from aggregator.core.awaited import counted_anew
from aggregator.core.federation import Federation, Stage
from aggregator.core.per_device import Devices, PerDevice
from aggregator.core.round_rules import RoundRules
from aggregator.core.stopping_rule import StoppingRule
from aggregator.core.verdicts import Verdict
from benchmarks.machine import description
from fedge.algorithms.codecs import float32
from fedge.algorithms.plan import Plan
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.capabilities import can
from fedge.wire.frames import split
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Cohort
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.status import Decline, Status
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason

SIZES = (1_000, 10_000, 50_000)
WAITED_FOR = 100
TURNS, QUICK_TURNS = 40, 12
GOAL = 1.3
"""The largest cost of an event in any fleet, as a multiple of its cost in the smallest one."""

OPEN = RoundId(1, 1)
MODEL = Blob(digest=hashlib.sha256(b"model").digest(), slot=0, frames=1, size=100)
TASK = Task(
    network=NetworkSpec(inputs=2, layers=(Dense(units=3),), loss="cross-entropy"),
    features=("volts", "amps"),
    classes=("idle", "busy", "broken"),
)


@dataclass(frozen=True)
class Case:
    """A kind of event: what happens before it, and its turns."""

    name: str
    before: Callable[[Federation], Federation]
    """Makes the state from which each turn begins, out of the fleet that has answered."""
    turn: Callable[[Federation], None]


def names(size: int) -> list[str]:
    """Devices that have answered."""
    return [f"pi-{number:05d}" for number in range(size)]


LATE = [f"late-{number:03d}" for number in range(WAITED_FOR)]


def fleet(size: int) -> Federation:
    """Return the state in which this many devices have answered the open round, which waits for `LATE`."""
    answered = names(size)
    state = Federation(
        rules=RoundRules(fraction=1.0, target=None, quorum=2 * size, deadline_s=3_600.0),
        stopping=StoppingRule(rounds=3),
        plan=Plan(),
        seed=7,
        roster=None,
        max_samples=1_000,
        ledger=b"l" * 16,
        instance=b"i" * 16,
        round=OPEN,
        kind="train",
        task=MODEL,
        task_message=TASK,
        weights=TASK.network.schema.size,
        model=MODEL,
        base=np.zeros(TASK.network.schema.size, np.float32),
        stage=Stage.COLLECTING,
        cohorts=(Cohort(fraction=1.0, seed=0),),
        since_s=0.0,
        published=True,
        announced=True,
        link_up=True,
        answers=PerDevice(
            {
                d: Verdict(d.encode().ljust(32), "admitted", samples=10, metrics={"loss": 1.0})
                for d in answered
            }
        ),
        admitted=size,
        fleet=Devices([*answered, *LATE]),
        voters=Devices([*answered, *LATE]),
        online=Devices([*answered, *LATE]),
        abilities=PerDevice(dict.fromkeys([*answered, *LATE], frozenset(can()))),
        beat_due_s=1e9,
    )
    return counted_anew(state)


def told(state: Federation, device: str, *, online: bool = True, no: Decline | None = None) -> Federation:
    """The state after a status."""
    status = Status(
        online=online, boot=b"b" * 16, connection=1, version="0", can=tuple(sorted(can())), declined=no
    )
    return rounds.step(state, on.StatusSeen(1.0, device, status))[0]


def all_told(state: Federation, *, online: bool = True, no: Decline | None = None) -> Federation:
    """The state after a status of each that is waited for."""
    for device in LATE:
        state = told(state, device, online=online, no=no)
    return state


def sent(device: str) -> tuple[Update, list[Frame]]:
    """An update, and its two frames."""
    update = Update(
        generation=OPEN.generation,
        round=OPEN.round,
        base=MODEL.digest,
        device=device,
        samples=10,
        steps=1,
        kind="weights",
        codec="float32",
        body=float32.encode(np.ones(TASK.network.schema.size, np.float32)),
    )
    whole = pack(update)
    return update, [unpack(frame, Frame) for frame in split(whole, -(-len(whole) // 2))]


SENT = {device: sent(device) for device in LATE}


def updates(state: Federation) -> None:
    """Deliver each update frame by frame until its verdict."""
    begun = state.admitted
    for device, (update, frames) in SENT.items():
        for frame in frames:
            state, effects = rounds.step(state, on.FrameArrived(1.0, device, frame))
        assert isinstance(effects[-1], do.ReadUpdate)
        state, _ = rounds.step(state, on.UpdateRead(1.0, device, frames[0].id, update))
    assert state.admitted == begun + WAITED_FOR, "measured is what counts"


NO = Decline(generation=OPEN.generation, round=OPEN.round, attempt=0, reason=Reason.TRAINING_DIVERGED)


def ticks(state: Federation) -> None:
    """Time passes."""
    for _ in LATE:
        rounds.step(state, on.Tick(1.0))


CASES = (
    Case("an update", lambda state: state, updates),
    Case("a device goes", lambda state: state, lambda state: _leave(all_told(state, online=False), 0)),
    Case(
        "a device comes",
        lambda state: all_told(state, online=False),
        lambda state: _leave(all_told(state), WAITED_FOR),
    ),
    Case("a device declines", lambda state: state, lambda state: _leave(all_told(state, no=NO), 0)),
    Case("time passes", lambda state: state, ticks),
)


def _leave(state: Federation, awaited: int) -> None:
    assert len(state.awaited) == awaited, "measured is what changes something"


def measure(turns: int, sizes: tuple[int, ...] = SIZES) -> dict[str, dict[int, float]]:
    """Milliseconds of the processor that one event takes, by kind and size: the fastest of so many turns."""
    fleets = {size: fleet(size) for size in sizes}
    found: dict[str, dict[int, float]] = {}
    for case in CASES:
        states = {size: case.before(state) for size, state in fleets.items()}
        best = dict.fromkeys(sizes, float("inf"))
        for _ in range(turns):
            for size, state in states.items():
                began_s = time.process_time()
                case.turn(state)
                best[size] = min(best[size], 1_000 * (time.process_time() - began_s) / WAITED_FOR)
        found[case.name] = best
    return found


def report(found: Mapping[str, Mapping[int, float]]) -> dict[str, object]:
    """For programs: figures, and the worst ratio of each kind against the goal."""
    goals = []
    for name, by_size in found.items():
        ratio = max(by_size.values()) / by_size[min(by_size)]
        goals.append({"event": name, "ratio": round(ratio, 3), "goal": GOAL, "met": ratio <= GOAL})
    return {
        "machine": description(),
        "milliseconds": {
            name: {str(size): round(ms, 4) for size, ms in by_size.items()} for name, by_size in found.items()
        },
        "goals": goals,
    }


def table(found: Mapping[str, Mapping[int, float]]) -> str:
    """For people."""
    lines = [
        description(),
        "",
        f"{'ms for one':<20}" + "".join(f"{size:>10,}" for size in SIZES) + "     worst",
    ]
    for name, by_size in found.items():
        ratio = max(by_size.values()) / by_size[min(by_size)]
        figures = "".join(f"{ms:>10.4f}" for ms in by_size.values())
        lines.append(f"{name:<20}{figures}{ratio:>7.2f} ×{'' if ratio <= GOAL else '  MISSED'}")
    return "\n".join([*lines, "", f"goal: at most {GOAL} times what it costs with {min(SIZES):,} devices"])


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_TURNS} turns instead of {TURNS}")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    found = measure(QUICK_TURNS if options.quick else TURNS)
    printed = report(found)
    print(json.dumps(printed, indent=2) if options.json else table(found))
    met = [max(by_size.values()) <= GOAL * by_size[min(by_size)] for by_size in found.values()]
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
