"""The settings of a world's programs, and the data of devices that really train."""

import random
from functools import lru_cache
from pathlib import Path
from typing import Any

from agent.config import AgentSettings
from aggregator.config import FederationSettings
from fleet.simulator.terms import ACCURACY, Terms

NAME = "world"


def federation_settings(wanted: Terms) -> FederationSettings:
    """The settings of the aggregators."""
    quorum = wanted.quorum if wanted.share is None else wanted.share
    rounds: dict[str, Any] = {
        "fraction": wanted.fraction,
        "quorum": quorum,
        "deadline_s": wanted.deadline_s,
    }
    if wanted.staleness is not None:
        rounds |= {"schedule": "buffered", "max_staleness": wanted.staleness}
    if wanted.target is not None:
        rounds["target"] = wanted.target
    if not wanted.clips:
        rounds["clip_norm"] = 0.0
    return FederationSettings.model_validate(
        {
            "federation": {"name": NAME, "max_samples": 1_000_000},
            "model": {"features": ("x",), "classes": ("low", "high")},
            **wanted.composition.settings(),
            "rounds": rounds,
            "stopping": {"rounds": wanted.rounds, "accuracy": ACCURACY},
            "signing": {"key": "signing.key"} if wanted.signed else {},
        }
    )


@lru_cache(maxsize=256)
def agent_settings(device: str, folder: Path | None, pin: Path | None) -> AgentSettings:
    """The settings of a device; `folder` holds its data, `pin` is the public key of its federation."""
    data = {"source": "csv", "path": str((folder or Path()) / "data.csv")}
    trust = {"key": str(pin)} if pin is not None else {}
    return AgentSettings.model_validate({"federation": NAME, "device": device, "data": data, "trust": trust})


def write_data(path: Path, number: int) -> None:
    """Write the samples of the device with this number."""
    rng = random.Random(number)  # noqa: S311 # made-up samples, not a secret
    rows = [(rng.gauss(number % 3, 1.0), rng.choice(("low", "high"))) for _ in range(60)]
    path.write_text("x,label\n" + "".join(f"{x:.4f},{label}\n" for x, label in rows))
