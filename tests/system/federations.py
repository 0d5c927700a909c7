"""What the fleets of these tests learn: small, so that a round takes some 50 ms, and not IID."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.system.fleet_of_processes import FleetOfProcesses

CLASSES = ("still", "walk", "run")
FEATURES = ("x", "y", "z", "light", "heat")
CENTRES = np.array([[0, 0, 9.8, 300, 20], [3, 1, 9.0, 300, 22], [6, -2, 7.5, 320, 25]])
"""Where the classes lie, in raw units that differ by two orders of magnitude: the survey evens them out."""
SPREAD = np.array([1, 1, 0.8, 40, 2])
CLASSIFIER: dict[str, Any] = {
    "features": FEATURES,
    "classes": CLASSES,
    "layers": [{"type": "dense", "units": 12}, {"type": "relu"}],
}


def motions(number: int, n: int = 60, leaning: float = 0.7) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """One device's samples: most of them of one class, so that no device knows enough alone."""
    rng = np.random.default_rng(number)
    odds = np.full(3, (1 - leaning) / 2)
    odds[number % 3] = leaning
    y = rng.choice(3, size=n, p=odds)
    X = CENTRES[y] + rng.normal(size=(n, 5)) * SPREAD
    return X, np.array(CLASSES)[y]


def as_csv(X: NDArray[np.float64], y: NDArray[np.str_], *, header: bool = True) -> str:
    lines = [",".join((*FEATURES, "label"))] if header else []
    lines += [",".join((*map(str, row), label)) for row, label in zip(X.tolist(), y, strict=True)]
    return "\n".join(lines) + "\n"


def steady(fleet: FleetOfProcesses, rounds: int = 4) -> None:
    """Three devices that all take part in every round: the model is a function of seed and data alone."""
    fleet.configure(
        federation={"seed": 7},
        model=CLASSIFIER,
        plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "momentum": 0.5},
        rounds={"quorum": 3, "target": 3, "deadline_s": 300.0},
        stopping={"rounds": rounds},
    )
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))


def undisturbed(fleet: FleetOfProcesses) -> bytes:
    """Run `steady` from beginning to end; returns the digest of its final model."""
    steady(fleet)
    fleet.start_aggregator("--exit-when-done")
    fleet.start_devices()
    assert fleet.ends() == 0
    return fleet.final_model()
