"""Files of phones that are worn, and programs that are called with them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import fleet

CENTRES = {"idle": (0.0, 0.0), "walk": (4.0, 0.0), "run": (0.0, 4.0)}


def recorded(path: Path, classes: list[str], rows: int, seed: int, *, lacking: int = 0) -> None:
    """A phone's file, sorted by class: a time, two sensors, one constant; some values are missing."""
    rng = np.random.default_rng(seed)
    lines = ["time,ax,ay,battery,activity"]
    for k in range(rows):
        name = classes[k * len(classes) // rows]
        x, y = rng.normal(CENTRES[name], 1.0)
        shown = "" if k < lacking else f"{x:.3f}"
        lines.append(f"2026-05-01T10:{k // 60:02}:{k % 60:02}Z,{shown},{y:.3f},3.3,{name}")
    path.write_text("\n".join(lines) + "\n")


def run(folder: Path, module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Call a program in a folder, as a newcomer does."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(fleet.__file__).parents[1])},
    )


def tried(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return run(Path.cwd(), "fleet", "try", *arguments)
