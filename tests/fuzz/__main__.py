"""Coverage-guided fuzzing of the receive paths: `python -m tests.fuzz --inputs 50000 --seed 1`.

An input that reaches a pair of lines, one after the other, that none before has reached is kept, and is
changed again later. It begins with the corpus in `tests/fuzz/corpus`; `--keep` adds the new ones to it, and
`--minimize` removes what reaches nothing that the seeds and the shorter ones do not reach. An
exception is a defect: the input is written to a file and the run ends with 1. Runs with the same
`--seed`, corpus and code, and with `--inputs` alone, are the same.
"""

import argparse
import hashlib
import logging
import random
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.fuzz import seeds
from tests.fuzz.inputs import Input, changed, pack, unpack
from tests.fuzz.receivers import TOPICS, run

CORPUS = Path(__file__).parent / "corpus"
ROOT = Path(__file__).parents[2]
WATCHED = tuple(
    str(ROOT / part)
    for part in (
        "fedge/wire/",
        "fedge/nn/spec",
        "fedge/algorithms/codecs/",
        "fedge/identity/trust",
        "aggregator/core/",
        "aggregator/phases/",
        "aggregator/aggregation/updates",
        "aggregator/shell/reception",
        "agent/core/",
        "agent/shell/inbox",
        "agent/shell/downloads",
    )
)
STALE_LINES = 15
"""After so many lines of one call that reached nothing new, the rest of the call is not watched: a loop over
many values would take most of the time."""
PATIENCE_S = 120
"""An input that takes longer hangs; the machine may be slow, and an input takes a millisecond."""


class Coverage:
    """Pairs of lines that ran one after the other, in the files that are watched."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self._now: set[int] = set()
        self._before = self._stale = 0
        self._numbers: dict[CodeType, int] = {}

    def new(self, given: Input) -> bool:
        """Run an input; whether it reached something new."""
        self._now, self._before = set(), 0
        signal.alarm(PATIENCE_S)
        sys.settrace(self._call)
        try:
            run(given)
        finally:
            sys.settrace(None)
            signal.alarm(0)
        new = not self._now <= self.seen
        self.seen |= self._now
        return new

    def _call(self, frame: FrameType, event: str, arg: object) -> Any:
        number = self._numbers.get(frame.f_code)
        if number is None:
            watched = frame.f_code.co_filename.startswith(WATCHED)
            number = self._numbers[frame.f_code] = (len(self._numbers) + 1) << 14 if watched else 0
        self._stale = 0
        return self._line if number else None

    def _line(self, frame: FrameType, event: str, arg: object) -> Any:
        here = self._numbers[frame.f_code] + frame.f_lineno
        pair = self._before << 32 | here
        self._before = here
        if pair in self._now:
            self._stale += 1
            if self._stale > STALE_LINES:
                frame.f_trace_lines = False
                return None
        else:
            self._now.add(pair)
        return self._line


def corpus() -> list[Input]:
    """What is kept, in the order of the names."""
    return [unpack(path.read_bytes()) for path in sorted(CORPUS.iterdir())]


def _minimize(coverage: Coverage) -> int:
    """Remove the inputs of the corpus that reach nothing of their own; returns the exit code."""
    for given in seeds.inputs():
        coverage.new(given)
    paths = sorted(CORPUS.iterdir(), key=lambda path: (path.stat().st_size, path.name))
    idle = [path for path in paths if not coverage.new(unpack(path.read_bytes()))]
    for path in idle:
        path.unlink()
    print(f"{len(idle)} of {len(paths)} inputs removed, {len(coverage.seen)} pairs of lines")
    return 0


def _hangs(number: int, frame: object) -> None:
    raise TimeoutError(f"this input takes longer than {PATIENCE_S} s")


def _in_processes(asked: argparse.Namespace) -> int:
    """The same, divided among processes; returns the exit code."""
    commands = []
    for worker in range(asked.workers):
        command = [sys.executable, "-m", "tests.fuzz", "--seed", str(asked.seed + worker)]
        command += ["--inputs", str(asked.inputs // asked.workers)] if asked.inputs else []
        command += ["--seconds", str(asked.seconds)] if asked.seconds else []
        commands.append(command + ["--keep"] * asked.keep)
    running = [subprocess.Popen(command, cwd=ROOT) for command in commands]
    return max(abs(process.wait()) for process in running)


def main() -> int:
    """Fuzz; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tests.fuzz")
    parser.add_argument("--inputs", type=int, help="end after so many")
    parser.add_argument("--seconds", type=float, help="end after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="add what reaches something new to the corpus")
    parser.add_argument(
        "--minimize",
        action="store_true",
        help="remove from the corpus what reaches nothing of its own, and end",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes, each with a seed of its own")
    asked = parser.parse_args()
    if asked.workers > 1:
        return _in_processes(asked)
    signal.signal(signal.SIGALRM, _hangs)
    logging.disable()  # what is refused is logged, and that is tested elsewhere
    coverage, rng = Coverage(), random.Random(asked.seed)
    for given in seeds.inputs():  # modules are loaded and types are built: that is no coverage of an input's
        run(given)
    if asked.minimize:
        return _minimize(coverage)
    pool: list[Input] = []
    began, count = time.monotonic(), 0
    first = [*corpus(), *seeds.inputs()]
    while count < (asked.inputs or count + 1) and time.monotonic() - began < (asked.seconds or float("inf")):
        if count < len(first):
            given = first[count]
        else:
            recent = pool[-len(pool) // 4 :] if rng.random() < 0.3 else pool
            given = changed(rng.choice(recent), rng.choice(pool), TOPICS, rng)
        count += 1
        try:
            new = coverage.new(given)
        except Exception:
            traceback.print_exc()
            found = Path(f"fuzz-{hashlib.sha256(pack(given)).hexdigest()[:12]}")
            found.write_bytes(pack(given))
            print(
                f"input {count} (seed {asked.seed}) is not refused but raises; it is in {found}",
                file=sys.stderr,
            )
            return 1
        if new:
            pool.append(given)
            if asked.keep:
                data = pack(given)
                (CORPUS / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    spent_s = time.monotonic() - began
    print(
        f"{count} inputs in {spent_s:.0f} s, {len(coverage.seen)} pairs of lines, {len(pool)} kept: no defect"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
