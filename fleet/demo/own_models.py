"""How each device fares with the shared model, with the model that it uses, and with one trained alone.

With `[personal] compare` the devices tell this of their own held-out rows. The figures are those of the last
round, which measures the exported model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.core.state import USES
from aggregator.aggregation.compared import by_more_than_a_row, worse_off
from aggregator.ledger.reading import read_only
from fedge.wire.messages.fields import Metrics
from fleet.demo.baselines import Alone


@dataclass(frozen=True)
class OwnModel:
    """One device's figures on its own held-out rows, each a share of the rows."""

    device: str
    rows: int
    """The number of its held-out rows."""
    shared: float
    used: float
    """Of the model that it uses."""
    alone: float
    """Of a model that it trained alone, on the rows that the shared model trains on."""
    uses: str
    """The model that it uses: one of `USES`."""
    worse_off: bool
    """Whether the model that it uses is worse than the one alone by more than one row."""
    shared_worse_off: bool
    """The same of the shared one."""
    alone_all_rows: float | None = None
    """Of a model alone that also trained on the rows to choose by; None: not known."""

    @property
    def behind_all_rows(self) -> bool:
        """Whether the model that it uses is worse than `alone_all_rows` by more than one row."""
        more = self.alone_all_rows
        return more is not None and by_more_than_a_row(self.rows * (more - self.used))

    def wrong(self, share: float) -> int:
        """The held-out rows that a model with this accuracy gets wrong."""
        return round(self.rows * (1 - share))

    def as_json(self) -> dict[str, Any]:
        """The figures under the names that scripts may rely on."""
        return {
            "rows": self.rows,
            "shared": self.shared,
            "personal": self.used,
            "alone": self.alone,
            "alone_all_rows": self.alone_all_rows,
            "uses": self.uses,
            "worse_off": self.worse_off,
        }


@dataclass(frozen=True)
class OwnModels:
    """The devices that compare, in the order of their names."""

    name: str
    """The personal model's part."""
    devices: Sequence[OwnModel]

    def mean(self, which: str) -> float:
        """The mean over the devices of `shared`, `used` or `alone`."""
        return sum(float(getattr(one, which)) for one in self.devices) / len(self.devices)

    def worst(self, which: str) -> float:
        """The figure of the device with the least."""
        return min(float(getattr(one, which)) for one in self.devices)

    @property
    def worse_off(self) -> int:
        """The devices that are worse off than alone by more than one row."""
        return sum(one.worse_off for one in self.devices)

    @property
    def shared_worse_off(self) -> int:
        """The devices that would be so with the shared model."""
        return sum(one.shared_worse_off for one in self.devices)

    @property
    def behind_all_rows(self) -> int:
        """The devices that are worse off by more than one row than alone with the rows to choose by."""
        return sum(one.behind_all_rows for one in self.devices)

    def as_json(self) -> dict[str, Any]:
        """The figures under the names that scripts may rely on."""
        return {
            "personal": self.name,
            "own_rows_shared_mean": self.mean("shared"),
            "own_rows_personal_mean": self.mean("used"),
            "own_rows_personal_worst": self.worst("used"),
            "own_rows_alone_mean": self.mean("alone"),
            "compared": len(self.devices),
            "worse_off": self.worse_off,
            "shared_worse_off": self.shared_worse_off,
            "worse_off_all_rows": self.behind_all_rows,
            "own_models": {one.device: one.as_json() for one in self.devices},
        }


def read(ledger: Path, name: str, alone: Sequence[Alone] = ()) -> OwnModels | None:
    """Read what the devices told last of their own models; None: no device compares by its accuracy.

    Args:
        ledger: the file of an aggregator that has ended.
        name: the personal model's part.
        alone: baselines that also trained on the rows to choose by.

    Raises:
        StateError: the ledger cannot be read, or is damaged.
    """
    baseline = {one.device: one.own for one in alone}
    with read_only(ledger) as reader:
        newest = reader.newest_round()
        while newest is not None and newest.round > 0:
            answers = reader.answers(newest)
            told = {device: dict(answer.metrics) for device, answer in sorted(answers.items())}
            found = [
                one
                for device, metrics in told.items()
                if (one := _of(device, metrics, baseline.get(device))) is not None
            ]
            if found:
                return OwnModels(name, tuple(found))
            newest = newest._replace(round=newest.round - 1)
    return None


def _of(device: str, metrics: Metrics, baseline: float | None) -> OwnModel | None:
    needed = ("accuracy_before", "accuracy_personal", "accuracy_alone", "chose")
    worse = worse_off(metrics, "personal")
    if worse is None or any(name not in metrics for name in needed):
        return None
    return OwnModel(
        device=device,
        rows=int(metrics["held_out"]),
        shared=metrics["accuracy_before"],
        used=metrics["accuracy_personal"],
        alone=metrics["accuracy_alone"],
        uses=USES[int(metrics["chose"])],
        worse_off=worse,
        shared_worse_off=bool(worse_off(metrics, "before")),
        alone_all_rows=baseline,
    )
