"""The rules by which the operator has rounds run. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RoundRules:
    """How rounds run; the same keys as `[rounds]`."""

    fraction: float
    """The share of the devices that the first attempt of a round chooses, in (0, 1]."""
    target: int | None
    """A round closes at this many admitted updates; None: when it awaits no device any more."""
    quorum: int | float
    """A number of updates, or a share of the devices (`aggregator.core.quorum`)."""
    deadline_s: float
    """How long an attempt waits for updates, in seconds with a connection."""
    max_norm: float = 100.0
    """The largest distance of an update from the model, in usual distances; 0: any distance."""
    clip_norm: float = 2.5
    """The largest difference that counts in full, in median differences of its round; 0: no bound."""
    max_weight: float = 10.0
    """The largest n_k that counts, in median n_k of its round; 0: no bound."""
    max_staleness: int | None = None
    """With the schedule `buffered`: how many versions back the base of an update may be; None: only updates
    from the newest model count."""
