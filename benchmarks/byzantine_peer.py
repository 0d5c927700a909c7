"""Our rules and attacks against ByzFL's own (PyPI, byzfl 0.0.11) on random matrices: `byzantine --peer`.

ByzFL has an environment of its own, made at the first use; it brings PyTorch, which takes some GB. Where the
two are the same function, the largest difference of an entry has to be rounding, of float32 in our results.

* Krum and Multi-Krum score by the n - f - 1 nearest others, as ByzFL does.
* The geometric median is iterated until it stays, because the two begin at other points.
* Centered clipping goes on over three rounds with its state.
* ByzFL has no bulyan, no min-max and no Gaussian that draws as ours does; its bucketing draws at random, and
  norm bounding is only a step before a rule.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.aggregate import aggregate
from benchmarks.byzantine_fleet import Round
from benchmarks.peer_environment import python_of
from benchmarks.verdict import Goal
from fedge.algorithms.registry import RULES
from fedge.algorithms.rules.bounds import Factors
from fleet.simulator.attacks.attack import Knowledge
from fleet.simulator.attacks.registry import attack

PACKAGES = ("byzfl==0.0.11",)
TIMEOUT_S = 600
ROUNDING = 1e-5
"""The largest difference, relative to the largest entry of a matrix."""
SHAPES = ((12, 2, 40), (14, 4, 200), (11, 1, 7))
"""n, f and p of each matrix."""
ROUNDS = 3

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """One function of ByzFL, and ours."""

    name: str
    theirs: tuple[str, Mapping[str, Any], str | None, Mapping[str, Any]]
    """Class and options, and those of the pre-aggregation."""
    ours: Mapping[str, Any]
    """A rule's or attack's table."""
    is_attack: bool = False
    rounds: bool = False
    """Whether it has a state over rounds."""


def questions(f: int) -> list[Question]:
    """All that both have, with f attackers."""
    rules: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
        ("median", "Median", {}, {}),
        ("trimmed-mean", "TrMean", {"f": f}, {}),
        ("krum", "Krum", {"f": f}, {}),
        ("multi-krum", "MultiKrum", {"f": f}, {}),
        ("geometric-median", "GeometricMedian", {"nu": 1e-6, "T": 1_000}, {"steps": 1_000}),
        ("centered-clipping", "CenteredClipping", {"L": 2, "tau": 3.0}, {"radius": 3.0, "iterations": 2}),
    ]
    made: list[Question] = []
    for name, theirs, options, more in rules:
        told = {"name": name, "f": f, **more}
        rounds = name == "centered-clipping"
        made.append(Question(name, (theirs, options, None, {}), told, rounds=rounds))
        mixed = (theirs, options, "NNM", {"f": f})
        made.append(Question(f"{name}, nnm", mixed, {**told, "pre": "nnm"}, rounds=rounds))
    attacks: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
        ("sign-flip", "SignFlipping", {}, {}),
        ("ipm", "InnerProductManipulation", {"tau": 0.5}, {"epsilon": 0.5}),
        ("alie", "ALittleIsEnough", {"tau": 1.5}, {"z": 1.5}),
        ("mimic", "Mimic", {"epsilon": 2}, {"device": 2}),
    ]
    made += [
        Question(name, (theirs, options, None, {}), {"name": name, **more}, is_attack=True)
        for name, theirs, options, more in attacks
    ]
    return made


def ours(question: Question, matrix: Matrix) -> Matrix:
    """Our answer: of shape (p,), or (rounds, p)."""
    told = dict(question.ours)
    if question.is_attack:
        # ByzFL's sign flip is that of the honest mean; ours is that of the attacker's own update
        own = matrix.mean(axis=0)[None]
        lie: Matrix = attack(told).changes(Knowledge(own[0], own, matrix, 0), {}).changes[0]
        return lie
    rule = RULES.make(str(told.pop("name")), told)
    found, base = [], np.zeros(matrix.shape[-1], np.float32)
    state = rule.init(len(base))
    for rows in matrix if question.rounds else matrix[None]:
        sent = {f"d{number:02d}": (1, row.astype(np.float32)) for number, row in enumerate(rows)}
        made = aggregate(Round(1, sent, len(base)), base, Factors(0, 0), rule, state=state)
        state = made.state
        found.append(made.vector.astype(np.float64))
    return np.stack(found) if question.rounds else found[0]


def compared() -> dict[str, float]:
    """The largest difference of each function over all matrices, relative to their largest entry.

    Raises:
        CalledProcessError: ByzFL cannot be installed, or fails.
    """
    matrices: dict[str, Matrix] = {}
    asked: list[tuple[str, Question]] = []
    for number, (n, f, p) in enumerate(SHAPES):
        rng = np.random.default_rng(number)
        # float32 values, so that both are given the same; the last f rows are far away
        rows = rng.normal(1.0, 1.0, (ROUNDS, n, p)).astype(np.float32).astype(np.float64)
        rows[:, n - f :] += 20.0
        matrices |= {f"one-{number}": rows[0], f"rounds-{number}": rows}
        asked += [(f"{'rounds' if one.rounds else 'one'}-{number}", one) for one in questions(f)]
    with tempfile.TemporaryDirectory() as folder:
        given, told, found = (Path(folder) / name for name in ("given.npz", "asked.json", "found.npz"))
        np.savez(given, **matrices)  # type: ignore[arg-type] # its stub takes the names for options
        told.write_text(json.dumps([[where, *question.theirs] for where, question in asked]), "utf-8")
        program = Path(__file__).parent / "simulation_peers" / "byzfl_answers.py"
        command = [python_of("byzfl", PACKAGES), program, given, told, found]
        subprocess.run(command, check=True, timeout=TIMEOUT_S)
        with np.load(found) as answers:
            theirs = [np.array(answers[str(number)]) for number in range(len(asked))]
    off: dict[str, float] = {}
    for (where, question), answer in zip(asked, theirs, strict=True):
        unit = float(np.abs(matrices[where]).max())
        difference = float(np.abs(ours(question, matrices[where]) - answer).max()) / unit
        off[question.name] = max(off.get(question.name, 0.0), difference)
    return off


def goals(off: Mapping[str, float]) -> list[Goal]:
    """Each difference is rounding."""
    return [
        Goal(f"largest difference of {name} from ByzFL's", found, at_most=ROUNDING)
        for name, found in off.items()
    ]
