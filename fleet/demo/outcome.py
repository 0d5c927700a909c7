"""The result of a fleet on this machine, with its baselines."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from aggregator.ledger.views import RoundRow
from fleet.demo.baselines import Alone
from fleet.demo.figure import ACCURACY, Figure
from fleet.demo.own_models import OwnModels


@dataclass(frozen=True)
class Traffic:
    """Bytes of MQTT payload, as the devices counted them."""

    up: int
    """From the devices."""
    down: int
    """To the devices."""


@dataclass(frozen=True)
class Outcome:
    """The data of the table, the JSON object and the report."""

    title: str
    dataset: str
    broker: str
    seed: int
    devices: int
    rows: tuple[RoundRow, ...]
    """The survey and every training round."""
    figure: Figure
    """The figure of `together`, `central` and `alone`."""
    chosen: int
    """The round of the exported model."""
    together: float
    """The figure of the exported ONNX file on the held-out parts of all devices, by onnxruntime."""
    together_by_device: dict[str, float]
    """The same figure on each device's own held-out part."""
    alone: tuple[Alone, ...]
    central: float
    """The figure of a model that was trained on all training parts in one place."""
    held_out: int
    """The number of samples in all held-out parts."""
    onnx_max_abs_diff: float
    """Largest difference of a probability between the ONNX file and a device's own forward pass."""
    folder: Path
    """The folder of the results."""
    safetensors: Path
    onnx: Path
    manifest: Path
    report: Path
    seconds_learning: float
    """From starting the programs until all devices held the newest model."""
    seconds: float
    """The duration of the whole run."""
    target_scale: float = 1.0
    """For a regression: the standard deviation of its target over the fleet, in the target's own unit."""
    own: OwnModels | None = None
    """How each device fares on its own rows; None: the devices do not compare."""
    measured: Mapping[int, float] = field(default_factory=dict)
    """For each kept round the figure of its model on the held-out parts of all devices."""

    @property
    def rounds(self) -> int:
        """Training rounds that closed."""
        return len(self.training)

    @property
    def training(self) -> Sequence[RoundRow]:
        """The training rounds, oldest first."""
        return trained(self.rows)

    @property
    def alone_mean(self) -> float:
        """Mean of the figures that the devices reach alone, on the held-out parts of all."""
        return sum(one.everyone for one in self.alone) / len(self.alone)

    @property
    def curve(self) -> list[tuple[int, float]]:
        """The figure of the model after each round, as far as known: measured here, or reported by devices.

        A row of the ledger describes the model that its round began with: that of the round before.
        """
        points = {self.chosen: self.together, **self.measured}
        for row in self.rows:
            value = row.accuracy
            if self.figure is not ACCURACY:
                value = None if row.held_loss is None else math.sqrt(row.held_loss) * self.target_scale
            if value is not None:
                points.setdefault(row.round - 1, value)
        return sorted(points.items())

    @property
    def traffic(self) -> Traffic:
        """The traffic of all rounds."""
        return Traffic(sum(row.bytes_up for row in self.rows), sum(row.bytes_down for row in self.rows))

    @property
    def seconds_per_round_median(self) -> float:
        """The median duration of the training rounds, in seconds."""
        return median(row.seconds for row in self.training if row.seconds is not None)

    def as_json(self) -> dict[str, Any]:
        """The figures under the names that scripts may rely on."""
        return {
            "dataset": self.dataset,
            "devices": self.devices,
            "rounds": self.rounds,
            "seed": self.seed,
            self.figure.name: self.together,
            f"{self.figure.name}_alone_mean": self.alone_mean,
            f"{self.figure.name}_central": self.central,
            "held_out": self.held_out,
            "onnx": str(self.onnx),
            "onnx_max_abs_diff": self.onnx_max_abs_diff,
            "safetensors": str(self.safetensors),
            "manifest": str(self.manifest),
            "report": str(self.report),
            "bytes_up": self.traffic.up,
            "bytes_down": self.traffic.down,
            "seconds": round(self.seconds, 3),
            "seconds_learning": round(self.seconds_learning, 3),
            "seconds_per_round_median": round(self.seconds_per_round_median, 4),
            "broker": self.broker,
            **(self.own.as_json() if self.own is not None else {}),
        }


def trained(rows: Sequence[RoundRow]) -> Sequence[RoundRow]:
    """The training rounds that closed."""
    return [row for row in rows if row.kind == "train" and row.closed]
