"""Valid surveys and updates of a liar, with any number of samples and with figures that cannot be true."""

import struct
from functools import cache
from random import Random
from typing import Any

import numpy as np

from fedge.algorithms.registry import LOCAL
from fedge.wire.freshness import round_of
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fleet.simulator.extremes import extremes
from fleet.simulator.updates import update

CLAIMS: tuple[dict[str, float], ...] = (
    {"accuracy_before": 1.0, "held_loss_before": 0.0, "held_out": 2.0**31 - 1, "received_bytes": 2.0**50},
    {"accuracy_before": 1e9, "held_out": 10.0},
    {"accuracy_before": 0.0, "held_loss_before": 1e308, "loss_before": 1e308, "held_out": 2.0**31 - 1},
    {"held_loss_before": -1e300, "held_out": 1.0},
    {"accuracy_personal": 0.0, "accuracy_alone": 1.0, "chose": 1.0, "held_out": 2.0**31 - 1},
)
"""Figures that would end learning, prevent its end, or make others seem worse off, if the aggregator believed
them."""
COLUMNS = ((100.0, 1e30, 0.0), (100.0, -1e30, 1e62), (20.0, 0.0, 1e-20), (100.0, 0.0, 1e62))
"""Count, mean and M2 that would make a column useless if the aggregator believed them."""
SAMPLES = (1, 20, 100, 10_000, 1_000_000)
"""Sample counts from the smallest to `max_samples`."""
ENTRIES = (1.0, 1.0, 1e6, 3e8, 3e38)
"""Weights as near to the base as others', far away, and as large as float32 allows."""
FURTHER = (0.0, 1e-6, 1.0, -1e6, 3e8)
"""Entries of a further vector: shorter than others', like theirs, and far away. They are not as large as
float32 allows: fewer than five updates are not clipped, and a sum of such vectors could end learning."""
STEPS = (0, 1, 3, 2**31, 2**62, 2**63 - 1)
"""Numbers of steps from none to the most that an update can tell."""


CLUSTERS = (None, 0, 1, 1, 2, 8)
"""Shared models that there are, and some that there are not."""


def boast(device: str, manifest: Manifest, number: int, rng: Random) -> Survey | Update:
    """Make a survey or update for the round of `manifest`, with the claims `number` or any valid extremes."""
    samples, any_of_them = rng.choice(SAMPLES), rng.randrange(2)
    if manifest.model is None:
        here = round_of(manifest)
        return Survey(
            generation=here.generation,
            round=here.round,
            base=manifest.task.digest,
            device=device,
            samples=samples,
            features=rng.choice(_told(Survey, "features"))
            if any_of_them
            else struct.pack("<3d", *COLUMNS[number % len(COLUMNS)]),
        )
    weights = np.full(4, rng.choice(ENTRIES), np.float32)
    claims = rng.choice(_told(Update, "metrics")) if any_of_them else CLAIMS[number % len(CLAIMS)]
    more = {name: np.full(4, rng.choice(FURTHER), np.float32) for name in further(manifest)}
    here, steps = round_of(manifest), rng.choice(STEPS)
    several = manifest.plan is not None and manifest.plan.personal == "clusters"
    return update(
        here,
        manifest.model.digest,
        device,
        samples,
        weights,
        claims,
        steps=steps,
        vectors=more,
        cluster=rng.choice(CLUSTERS) if several else None,
    )


def further(manifest: Manifest) -> tuple[str, ...]:
    """The vectors besides the weights that an update of this round must have."""
    if manifest.plan is None:
        return ()
    return tuple(LOCAL.make(manifest.plan.local_name, manifest.plan.local_options).sends)


@cache
def _told(kind: type[Survey | Update], field: str) -> tuple[Any, ...]:
    """The extremes of a field that the decoder accepts."""
    return tuple(extreme.value for extreme in extremes(kind) if extreme.field == field and extreme.inside)
