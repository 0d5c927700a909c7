"""What the caller of a trial chooses."""

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
"""Keys of `[data]` that are said in another way, which would win."""


@dataclass(frozen=True)
class Options:
    """What the caller chose."""

    place: Path
    wish: Wish
    out: Path = Path("out/try")
    devices_from: str | None = None
    data: Mapping[str, Value] = field(default_factory=dict)
    """Further keys of `[data]`, for all devices."""
    leave_one_out: bool = False
    seconds: float | None = None
    """After about so long it ends with what is there."""
    seed: int = 1
    broker: str = "auto"
