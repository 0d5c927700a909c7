"""`[federation]` of `federation.toml`."""

import logging
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from aggregator.settings.names import require_unique
from fedge.identity.device_names import as_ids, renamed
from fedge.service.settings import LocalPath, Section
from fedge.wire.topics import DEVICE_ID, FEDERATION

log = logging.getLogger("fedge.aggregator")

Id = Annotated[str, Field(pattern=DEVICE_ID)]


def _ids(devices: object) -> object:
    """The ids of the listed devices; each name that differs from its id is logged."""
    if not isinstance(devices, list | tuple) or not all(isinstance(name, str) for name in devices):
        return devices
    found = as_ids(devices)
    for sentence in renamed(devices):
        log.warning("[federation] devices: %s", sentence)
    return found


class FederationSection(Section):
    """`[federation]`: its name and its members."""

    name: Annotated[str, Field(pattern=FEDERATION)]
    """At most 31 lower-case letters, digits and hyphens; part of every topic."""
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    """Determines the first weights, the cohorts, the order of samples, and what codecs draw: the same seed
    gives the same model. With a codec that is not exact it stays the same within a generation."""
    devices: Annotated[tuple[Id, ...] | None, BeforeValidator(_ids)] = None
    """The only devices whose updates count; default: every device that the broker accepts. Their number is
    the size of the fleet for `scaffold` and `dyn`, which without a list is what a generation's first rounds
    admit."""
    max_samples: int = Field(default=1_000_000, ge=20, le=2**53)
    """The largest n_k that is admitted: no device can claim more weight than this. A device with more rows
    trains on this many, the newest ones."""

    quarantine: LocalPath = Field(default="quarantined", validate_default=True)
    """The file in which `fedge quarantine` lists the devices that do not count; a change takes effect while
    rounds run."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_unique("devices", self.devices)
        return self
