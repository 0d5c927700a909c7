"""The options of a trial."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet.demo.provision import Value
from fleet.trial.proposal import Wish

ELSEWHERE = {
    **dict.fromkeys(("source", "path", "files"), "is chosen by the files that are named"),
    "label": "is chosen by --label",
    "series": "is chosen by --series",
    "missing": "is chosen by --missing",
    "holdout": "is chosen by --holdout and --by",
}
"""Keys of `[data]` that other options set, with the reason why `--data` cannot."""


@dataclass(frozen=True)
class Options:
    """The caller's options."""

    place: Path
    wish: Wish
    out: Path = Path("out/try")
    devices_from: str | None = None
    data: Mapping[str, Value] = field(default_factory=dict)
    """Further keys of `[data]`, for all devices."""
    leave_one_out: bool = False
    seconds: float | None = None
    """The trial ends after about this many seconds, with the results so far."""
    seed: int = 1
    broker: str = "auto"
