"""The shared interface of benchmarks: `--quick`, `--json`, and the exit code 1 if a goal is missed."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A figure and its goal, which is a lower or an upper bound."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    def __str__(self) -> str:
        bound = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        return f"{'met' if self.met else 'missed'}: {self.name} {self.value:.3g} (goal: {bound})"


def arguments(about: str, quick: str) -> argparse.ArgumentParser:
    """Parse the arguments of all benchmarks; `quick` is the help of `--quick`, for at most two minutes."""
    made = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return made


def judged(report: Mapping[str, Any], text: str, goals: Sequence[Goal], *, as_json: bool) -> int:
    """Print the figures and the verdict on each goal; return the exit code."""
    if as_json:
        told = [{**asdict(goal), "met": goal.met} for goal in goals]
        print(json.dumps({**report, "goals": told}, indent=2))
    else:
        print("\n".join([text, *map(str, goals)]))
    missed = [goal.name for goal in goals if not goal.met]
    if missed and as_json:
        print(f"goals missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0
