"""SIGKILL for any device, the aggregator and the broker, at moments drawn from a seed; then an audit.

    python -m tests.chaos.kills --seed 1 --rounds 50

The verdict comes from three witnesses that do not know of each other: the receipts heard on the wire, the
devices' own stores, and the ledger, of which every closed round is computed again (`tests.system.audit`).
"""

import argparse
import heapq
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.chaos.fleets import closed, robust
from tests.chaos.strict_broker import StrictBroker, strict_broker
from tests.system.audit import check_books, check_stores
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.wiretap import Wiretap

DEVICES = 20
PAUSE_S = 0.7
"""Mean time between two accidents."""
LONGEST_ABSENCE_S = 1.0
ODDS = {"aggregator": 1, "broker": 1, "device": 30}
"""An aggregator that died together with the broker first waits 15 s for what it said itself."""
STUCK_S = 240.0


@dataclass(frozen=True)
class Accident:
    """Somebody dies after a pause, and is started again after an absence."""

    pause_s: float
    victim: str
    absence_s: float


@dataclass(frozen=True)
class Verdict:
    """What came of it."""

    seed: int
    rounds: int
    replayed: int
    """Closed training rounds whose model was computed again, bit for bit."""
    kills: dict[str, int]
    receipts: int
    """Different updates that a receipt on the wire called admitted."""
    lost: int
    """Of these, how many do not stand in the ledger as admitted in that round."""
    double: int
    """Devices that were told of two admitted updates in one round."""
    seconds: float

    @property
    def holds(self) -> bool:
        return self.replayed == self.rounds and self.lost == self.double == 0


class Accidents:
    """An endless schedule, the same for the same seed."""

    def __init__(self, seed: int, devices: int) -> None:
        self._random = random.Random(seed)
        self._devices = devices

    def draw(self) -> Accident:
        drawn = self._random
        [victim] = drawn.choices(list(ODDS), weights=list(ODDS.values()))
        if victim == "device":
            victim = f"device-{drawn.randrange(self._devices):02d}"
        return Accident(drawn.expovariate(1 / PAUSE_S), victim, drawn.uniform(0.05, LONGEST_ABSENCE_S))


def run(folder: Path, strict: StrictBroker, seed: int, rounds: int) -> Verdict:
    """Let a federation live through accidents until `rounds` training rounds are closed; then judge.

    Raises:
        AssertionError: a program ended that was not killed, no round closed for `STUCK_S`, or the books are
            wrong; says which.
    """
    began_s = time.monotonic()
    with FleetOfProcesses(folder, strict.broker, strict.access) as fleet:
        robust(fleet, DEVICES, rounds)
        with Wiretap(fleet) as tap:
            fleet.start_devices()
            fleet.start_aggregator("--exit-when-done")
            kills = _harass(fleet, Accidents(seed, DEVICES), rounds)
            _finish(fleet)
            receipts = dict(tap.receipts)
        check_stores(fleet)
        replayed = check_books(fleet)
        admitted = [(device, r) for (device, _), r in receipts.items() if r.verdict == "admitted"]
        lost = sum(
            fleet.answers(r.round, r.generation).get(device, ("", 0, b""))[::2] != ("admitted", r.update)
            for device, r in admitted
        )
        told = Counter((device, r.generation, r.round) for device, r in admitted)
        double = sum(times > 1 for times in told.values())
        seconds = round(time.monotonic() - began_s, 1)
        return Verdict(
            seed, closed(fleet), replayed, dict(sorted(kills.items())), len(admitted), lost, double, seconds
        )


def _harass(fleet: FleetOfProcesses, accidents: Accidents, rounds: int) -> Counter[str]:
    kills: Counter[str] = Counter()
    back: list[tuple[float, str]] = []
    accident = accidents.draw()
    next_s = time.monotonic() + accident.pause_s
    done, progress_s = 0, time.monotonic()
    while done < rounds:
        now_s = time.monotonic()
        if (newly := closed(fleet)) > done:
            done, progress_s = newly, now_s
        assert now_s - progress_s < STUCK_S, f"no round closed for {STUCK_S} s: {fleet.rounds()[-2:]}"
        absent = {name for _, name in back}
        for program in fleet.programs.values():
            assert program.exit_code in (None, 0), program.died()
        if now_s >= next_s:
            if accident.victim not in absent and _kill(fleet, accident.victim):
                kills[accident.victim.partition("-")[0]] += 1
                heapq.heappush(back, (now_s + accident.absence_s, accident.victim))
            accident = accidents.draw()
            next_s = now_s + accident.pause_s
        while back and back[0][0] <= now_s:
            _start(fleet, heapq.heappop(back)[1])
        time.sleep(0.05)
    for _, name in back:
        _start(fleet, name)
    return kills


def _finish(fleet: FleetOfProcesses) -> None:
    """Wait, now undisturbed, until the aggregator has ended and everybody holds the final model."""
    aggregator = fleet.programs.pop("aggregator")
    assert aggregator.process.wait(STUCK_S) == 0, aggregator.died()
    final = fleet.final_model()
    fleet.until(
        lambda: all(device.held_model() == final for device in fleet.devices.values()),
        "everybody holds the final model",
    )


def _kill(fleet: FleetOfProcesses, name: str) -> bool:
    if name == "broker":
        fleet.broker.kill()
        return True
    if fleet.programs[name].exit_code is not None:  # the aggregator, done by itself
        return False
    fleet.kill(name)
    return True


def _start(fleet: FleetOfProcesses, name: str) -> None:
    if name == "broker":
        fleet.broker.restart()
    elif name == "aggregator":
        fleet.start_aggregator("--exit-when-done")
    else:
        fleet.start_devices(name)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.kills", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with strict_broker() as strict, tempfile.TemporaryDirectory(prefix="fedge-chaos-") as folder:
        verdict = run(Path(folder) / "fleet", strict, options.seed, options.rounds)
    if options.json:
        print(json.dumps(asdict(verdict)))
    else:
        for name, value in asdict(verdict).items():
            print(f"{name:>9}  {value}")
    return 0 if verdict.holds else 1


if __name__ == "__main__":
    sys.exit(main())
