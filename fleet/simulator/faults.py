"""The faults of a world: a schedule that is drawn from the seed before anything runs.

The numbers are cases of docs/reliability.md.
"""

import random
from dataclasses import dataclass

DAY_S = 86_400.0
LATEST_CUT_S = 15.0
"""When a program is killed if it has not reached the effect at which it was to be killed."""
SHORT_LIFE_S = 12.0
"""The longest time between two deaths of a crash loop."""

SECOND_S = 240.0
"""The longest time for which two aggregators run side by side."""

KINDS = {
    "kill": 6,  # 24-27, 43, 44: a program dies between any two of its effects
    "power cut": 6,  # 34: the same, and the broker is not told
    "crash loop": 2,  # 33: a program dies again and again, each time a few seconds after its start
    "reset": 4,  # a connection ends, and packets under way are lost
    "darkness": 4,  # 20: packets go nowhere, briefly or for longer than the keep-alive
    "broker restart": 3,  # 3: with its disk
    "broker crash": 3,  # 1, 2: with a disk that lacks the last second
    "broker wiped": 2,  # 4, 15: with nothing
    "disk full": 4,  # 35, 36: the next writes fail
    "clone": 2,  # 10: a second device with the same identity and state
    "late wills": 2,  # 17
    "duplicates": 3,  # 14
    "slow network": 3,
    "sensor away": 2,  # 29: a device declines
    "lies": 4,  # 49, 54, 61-63, 66: garbage, NaN, foreign names, replays
    "night": 1,  # 7, 8: every program is off for days
    "long sleep": 1,  # 8, 15: one device is off for days
    "new generation": 2,  # the aggregator is started with --new-generation, or goes on with its model
    "ledger wiped": 1,  # the state folder of the aggregator is empty
    "ledger restored": 2,  # it is an older copy
    "device wiped": 2,  # the same for a device
    "device restored": 2,
    "aggregator moved": 2,  # another machine serves, with the newest copy
    "second aggregator": 3,  # another one is started with its own ledger, a copy, or while the first is lost
}
"""Every kind, with its weight in the draw."""


@dataclass(frozen=True)
class Fault:
    """One fault."""

    at_s: float
    kind: str
    host: int
    """-1: the aggregator; else the number of a device."""
    seconds: float
    """How long it lasts, or the time until the program is started again."""
    amount: int
    """Number of effects before the death, number of writes that fail, or number of the lie."""

    @property
    def over_s(self) -> float:
        """When it is over."""
        return self.at_s + self.seconds + (LATEST_CUT_S if self.kind in ("kill", "power cut") else 0.0)

    def __str__(self) -> str:
        who = "the aggregator" if self.host < 0 else f"device {self.host}"
        return f"{self.at_s:9.2f} s  {self.kind}, {who}, {self.seconds:.1f} s, {self.amount}"


def schedule(rng: random.Random, devices: int) -> list[Fault]:
    """Draw the faults, in the order of time."""
    window_s = rng.uniform(15.0, 120.0)
    kinds, weights = list(KINDS), list(KINDS.values())
    faults = []
    slept = False
    for kind in rng.choices(kinds, weights, k=rng.randint(0, 8)):
        seconds = rng.choice((0.3, 2.0, 10.0, 60.0))
        host = rng.randrange(-1, devices) if rng.random() < 0.7 else -1
        if kind in ("clone", "sensor away", "long sleep", "device wiped", "device restored"):
            host = rng.randrange(devices)
        if kind == "crash loop":
            seconds = rng.uniform(30.0, 90.0)
        if kind == "second aggregator":
            seconds = rng.choice((20.0, 60.0, SECOND_S))
        if kind in ("night", "long sleep"):
            if slept:
                continue
            slept, seconds = True, rng.uniform(0.5, 3.0) * DAY_S
        # Most deaths fall into the next turn, between two of its effects.
        amount = rng.randrange(rng.choice((4, 12, 40)))
        faults.append(Fault(rng.uniform(0.0, window_s), kind, host, seconds, amount))
    return sorted(faults, key=lambda fault: fault.at_s)
