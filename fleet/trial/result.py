"""The result of a trial: figures, by class and by device, a verdict, files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedge.data.scores import Classification, Regression
from fleet.demo.history import RoundScores
from fleet.demo.outcome import Outcome
from fleet.demo.scoring import ClassRow
from fleet.trial.conclusion import Conclusion, Figures
from fleet.trial.proposal import Proposal, holdout_setting


@dataclass(frozen=True)
class DeviceResult:
    """One device, by the figure of the trial; NaN: it has no rows to measure on."""

    device: str
    origin: str
    """The origin of its data, for people."""
    training: int
    """Rows it trains on."""
    held_out: int
    """Rows it keeps for measuring."""
    together: float
    """The shared model on its held-out rows."""
    alone: float | None
    """Its own model on the same rows; None: the time limit was reached before."""
    alone_everyone: float | None
    """Its own model on the held-out rows of all devices."""
    central: float
    """A model of all data in one place on its held-out rows."""
    without: float | None = None
    """The figure of the other devices' model without it, on all its rows; None: not requested."""


@dataclass(frozen=True, eq=False)
class Trial:
    """All data that are shown of a trial."""

    outcome: Outcome
    proposal: Proposal
    figures: Figures
    conclusion: Conclusion
    warnings: tuple[str, ...]
    together: Classification | Regression
    """Scores of the shared model on the held-out rows of all devices."""
    central: Classification | Regression
    """The same of a model of all data in one place."""
    classes: tuple[ClassRow, ...]
    """The shared model class by class; empty for a regression."""
    history: Sequence[RoundScores]
    """The shared model after each round that is kept, oldest first."""
    devices: tuple[DeviceResult, ...]
    excluded: Mapping[str, str]
    """Devices that could not take part, and why."""
    settings: Path
    """`federation.toml`."""
    agents: Mapping[str, Path]
    """`agent.toml` of each device."""
    processes: int
    """The number of processes of the agents."""

    @property
    def constant(self) -> str:
        """The name of the best constant answer, which is chosen by the training rows."""
        return "always the " + (
            "most frequent class" if self.proposal.classes else "mean of the training rows"
        )

    @property
    def worst(self) -> DeviceResult:
        """The device with the worst figure of the shared model, among those that hold something out."""
        sign = 1 if self.outcome.figure.more_is_better else -1
        return min(
            (one for one in self.devices if one.together == one.together), key=lambda one: sign * one.together
        )

    def as_json(self) -> dict[str, Any]:
        """The figures under the names that scripts may rely on; null where there is none."""
        name, proposal = self.outcome.figure.name, self.proposal
        found = {
            **self.outcome.as_json(),
            "worst_device": self.worst.device,
            f"worst_device_{name}": self.worst.together,
            f"{name}_own_mean": self.figures.together_own,
            f"{name}_alone_own_mean": self.figures.alone_own,
            "noise": self.figures.noise,
            "verdict": self.conclusion.as_json(),
            "warnings": list(self.warnings),
            "by_device": [_device(one, name) for one in self.devices],
            "by_round": [one.as_json() for one in self.history],
            "excluded": dict(self.excluded),
            "features": list(proposal.features),
            "left_out": dict(proposal.left_out),
            "hidden": proposal.hidden,
            "plan": proposal.plan.model_dump(exclude_none=True),
            "holdout": holdout_setting(proposal.holdout, proposal.by),
            "missing": proposal.missing,
            "processes": self.processes,
            "federation": str(self.settings),
            "agents": {device: str(path) for device, path in self.agents.items()},
        }
        if isinstance(self.together, Classification) and isinstance(self.central, Classification):
            found["accuracy_most_frequent"] = self.figures.constant
            found["by_class"] = _classes(self.classes, self.central, proposal.counts)
            found["confusion"] = self.together.confusion.tolist()
        elif isinstance(self.together, Regression):
            found |= {"rmse_mean": self.figures.constant, "mae": self.together.mae[0]}
        return {key: _known(value) for key, value in found.items()}


def _device(one: DeviceResult, name: str) -> dict[str, Any]:
    found = {
        "device": one.device,
        "from": one.origin,
        "training": one.training,
        "held_out": one.held_out,
        name: one.together,
        f"{name}_alone": one.alone,
        f"{name}_alone_everyone": one.alone_everyone,
        f"{name}_central": one.central,
    }
    if one.without is not None:
        found[f"{name}_without_it"] = one.without
    return {key: _known(value) for key, value in found.items()}


def _classes(
    rows: Sequence[ClassRow], central: Classification, counts: Mapping[str, int]
) -> list[dict[str, Any]]:
    return [
        {
            "class": row.name,
            "rows": counts.get(row.name, 0),
            "devices": row.trained,
            "held_out": row.rows,
            "recall": row.recall,
            "precision": row.precision,
            "recall_central": central.recall[k],
        }
        for k, row in enumerate(rows)
    ]


def _known(value: Any) -> Any:
    """The value, or None for NaN, which JSON does not have."""
    return None if isinstance(value, float) and value != value else value
