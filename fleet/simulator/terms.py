"""What a world is like, apart from its faults."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fedge.wire import frames
from fedge.wire.encoding import MAX_PAYLOAD
from fleet.simulator.compositions import FEDAVG, NOTHING, Composition, composition
from fleet.simulator.trainers import Odd

REAL_ONE_IN = 50
"""One world in this many has databases and data in files, and real SGD."""
ODD_OF = 8
ODD: Mapping[int, Mapping[int, Odd]] = {
    2: {0: "many samples", 1: "far away"},
    4: {0: "as large as can be"},
    6: {0: "many samples", 1: "far away", 2: "as large as can be"},
}
"""The unusual devices of a world, by the remainder of its seed modulo `ODD_OF` and by the device's number."""
UNCLIPPED = 4
"""The remainder of the seed for worlds without clipping: there a mean may be unusable in any fleet. Where a
liar sends further vectors they are clipped all the same: what it adds to their sum would end learning."""
SHARE_ONE_IN, SHARE = 8, 0.5
"""One world in this many has a quorum that is this share of the devices online, instead of a number."""
SIGNED_ONE_IN = 9
"""One world in this many has signed announcements, and its liar forges them."""
SILENT_ONE_IN = 6
"""One world in this many has a device that is online and never answers."""
STATEFUL_ONE_IN = 5
"""Of the worlds without a composition, one in this many has devices that remember their updates that counted,
as a stateful algorithm would."""
LYING_ONE_IN = 7
"""One world in this many has a member that lies in each round."""
BUFFERED_ONE_IN = 11
"""One world in this many counts updates from older models (schedule `buffered`)."""
LIMITED_ONE_IN, LIMITS = 3, (MAX_PAYLOAD, 100, 60, 30)
"""In one world in this many the broker takes frames of another size after a restart, one of these."""
ACCURACY = 0.9
"""The accuracy at which learning ends; no honest stand-in reports as much."""


def _odd(what: Odd, with_: Composition) -> Odd:
    """What is unusual about a device: where something adds up, the largest weights would stay in it."""
    return "far away" if what == "as large as can be" and with_.adds_up else what


@dataclass(frozen=True)
class Terms:
    """What a world is like, apart from its faults."""

    devices: int
    rounds: int
    quorum: int
    target: int | None
    fraction: float
    deadline_s: float
    frame_bytes: int
    queue_limit: int
    training_s: tuple[float, ...]
    delays_s: tuple[float, ...]
    real: bool
    signed: bool
    silent: bool
    """Whether a member is online and never answers."""
    lying: bool
    """Whether a member answers each round with lies in any field."""
    stateful: bool
    """Whether the devices train with a stateful algorithm."""
    clips: bool
    share: float | None
    """The quorum as a share of the devices online; None: `quorum` is a number."""
    odd: Mapping[int, Odd]
    """What is unusual about a device, by its number."""
    composition: Composition
    """What it learns with."""
    limits: random.Random | None = None
    """Draws the size of frames after a restart of the broker; None: it stays."""
    staleness: int | None = None
    """How many versions back the base of an update may be; None: one round comes after the other."""


def terms(
    rng: random.Random, seed: int, devices: int, rounds: int, learns: Composition | None = None
) -> Terms:
    """Draw the terms of the world with this seed; `learns`: its composition, if it is not to be drawn."""
    quorum = rng.randint(min(2, devices), max(min(2, devices), devices - 2))
    target = rng.randint(quorum, devices) if rng.random() < 0.25 else None
    buffered = seed % BUFFERED_ONE_IN == BUFFERED_ONE_IN - 1
    lying = seed % LYING_ONE_IN == LYING_ONE_IN - 1
    with_ = composition(seed) if learns is None else learns
    if buffered and not with_.fits_stale:
        if learns is None:
            with_ = FEDAVG
        else:
            buffered = False
    if with_.robust:
        if with_.fewest > devices - 2:  # as for the quorum: two devices may be gone
            with_ = replace(with_, robust=NOTHING)
        elif target is not None:
            target = max(target, with_.fewest)
    drawn = Terms(
        devices=devices,
        rounds=rounds,
        quorum=quorum,
        target=target,
        fraction=rng.choice((1.0, 1.0, 1.0, 0.6)),
        deadline_s=rng.choice((20.0, 40.0, 90.0)),
        frame_bytes=rng.choice((frames.FRAME_BYTES, frames.FRAME_BYTES, 100, 40)),
        queue_limit=rng.choice((1_000, 1_000, 60)),
        training_s=tuple(rng.choice((0.5, 3.0, 8.0, 30.0)) * rng.uniform(0.8, 1.2) for _ in range(devices)),
        delays_s=tuple(rng.choice((0.002, 0.02, 0.2)) for _ in range(devices + 1)),
        real=seed % REAL_ONE_IN == REAL_ONE_IN - 1,
        signed=seed % SIGNED_ONE_IN == SIGNED_ONE_IN - 1,
        silent=seed % SILENT_ONE_IN == SILENT_ONE_IN - 1,
        lying=lying,
        stateful=with_.stateful if with_.drawn else seed % STATEFUL_ONE_IN == STATEFUL_ONE_IN - 1,
        clips=seed % ODD_OF != UNCLIPPED or (lying and bool(with_.vectors)),
        share=SHARE if seed % SHARE_ONE_IN == SHARE_ONE_IN - 1 else None,
        odd={number: _odd(what, with_) for number, what in ODD.get(seed % ODD_OF, {}).items()},
        composition=with_,
        # A generator of its own, so that worlds without limits stay as they were.
        limits=random.Random(f"the limits of world {seed}") if seed % LIMITED_ONE_IN == 1 else None,  # noqa: S311 # a simulation
    )
    if not buffered:
        return drawn
    return replace(drawn, fraction=1.0, target=target or quorum, staleness=1 + seed // BUFFERED_ONE_IN % 3)
