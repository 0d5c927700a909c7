"""Measure an agent's memory while it is idle and connected, and its time from exec to connected.

The agent starts several times against Mosquitto, without an aggregator: it connects, publishes its status and
waits. It is connected when a subscriber at the broker receives that status. It starts as often with a pinned
signing key; then the broker retains an announcement, so that the agent has to check a signature. If Flower's
environment exists (`benchmarks.round_vs_flower` makes it), the same run measures an idle SuperNode with its
SuperExec.

    python -m benchmarks.footprint [--quick] [--json]
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from agent.shell.memory import Memory
from agent.shell.memory_layout import FILE
from benchmarks import fedge_side, flower_peer, machine
from benchmarks.observer import Observer
from benchmarks.processes import Processes, end_cleanly_on_sigterm
from benchmarks.verdict import Goal, arguments, judged
from fedge.identity import ed25519
from fedge.identity.trust import Signer
from fedge.wire.freshness import round_of
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.topics import Topics
from fleet.demo import broker

GOAL_MB, GOAL_SIGNED_MB, GOAL_S = 60, 75, 0.6
STARTS, QUICK_STARTS = 7, 3
SETTLE_S = 1.0
CONNECT_TIMEOUT_S = 30.0
FLOWER_SETTLE_S = 8.0
SAMPLES, FEATURES = 150, 64
ROWS = (
    ("bare Python, MB", "interpreter_mb", ".1f", None),
    ("import agent.__main__, MB", "import_mb", ".1f", None),
    ("idle connected agent, MB", "idle_mb", ".1f", GOAL_MB),
    ("exec to connected, s", "connected_s", ".3f", GOAL_S),
    ("with a signing key: idle, MB", "signed_idle_mb", ".1f", GOAL_SIGNED_MB),
    ("with a signing key: connected, s", "signed_connected_s", ".3f", GOAL_S),
)
"""What is told: how it is called, where it is in the report, how it is written, and the most it may be."""
NOTHING_TO_DO = Manifest(
    generation=1,
    round=1,
    kind="survey",
    state="open",
    seed=1,
    task=Blob(digest=bytes(32), slot=0, frames=1, size=1),
    cohort=Cohort(fraction=1e-12, seed=1),  # nobody is meant
    seconds_left=0.0,
)


def measure(starts: int, environment: Path | None) -> dict[str, Any]:
    """Start the agent `starts` times, then the peer once, if it has an environment."""
    with tempfile.TemporaryDirectory(prefix="fedge-benchmark-") as name:
        folder = Path(name)
        data, logs = folder / "data.npz", folder / "logs"
        logs.mkdir()
        _write_data(data)
        report: dict[str, Any] = {
            "machine": machine.description(),
            "starts": starts,
            "interpreter_mb": _spread([_bare_mb("") for _ in range(starts)]),
            "import_mb": _spread([_bare_mb("import agent.__main__") for _ in range(starts)]),
        }
        with broker.start("mosquitto", folder / "mosquitto") as mosquitto, Processes(logs) as processes:
            measured = [
                _start_agent(processes, folder, data, mosquitto.url, f"agent-{number}")
                for number in range(starts)
            ]
            pin = _announce(folder, mosquitto.url)
            signed = [
                _start_agent(processes, folder, data, mosquitto.url, f"trusting-{number}", pin)
                for number in range(starts)
            ]
        report["connected_s"] = _spread([seconds for seconds, _ in measured])
        report["idle_mb"] = _spread([rss_mb for _, rss_mb in measured])
        report["signed_connected_s"] = _spread([seconds for seconds, _ in signed])
        report["signed_idle_mb"] = _spread([rss_mb for _, rss_mb in signed])
        report |= {
            "goal_connected_s": GOAL_S,
            "goal_idle_mb": GOAL_MB,
            "goal_signed_idle_mb": GOAL_SIGNED_MB,
        }
        if environment is not None and flower_peer.is_installed(environment):
            programs = flower_peer.install(environment)
            with Processes(logs) as processes:
                report["flower"] = {"version": flower_peer.version(programs)}
                report["flower"]["idle_mb"] = _idle_supernode_mb(processes, programs, folder / "flower")
        return report


def _announce(folder: Path, url: str) -> Path:
    """Leave an announcement at the broker that is signed, and asks for nothing; returns the key to pin."""
    key, topics = ed25519.generate(), Topics(fedge_side.FEDERATION)
    pin = folder / "signing.pub"
    pin.write_bytes(ed25519.public_pem(key.public))
    with Observer(url, [topics.round]) as observer:
        observer.retain(topics.round, Signer(topics, key.public, key.sign).seal(NOTHING_TO_DO, "round"))
    return pin


def _start_agent(
    processes: Processes, folder: Path, data: Path, url: str, name: str, pin: Path | None = None
) -> tuple[float, float]:
    """Seconds from exec until its status reaches a subscriber, and MB at rest afterwards."""
    configuration = fedge_side.write_agent(folder / name, name, data, url, pin)
    with Observer(url, [Topics(fedge_side.FEDERATION).status(name)]) as observer:
        begun_s = time.monotonic()
        agent = fedge_side.start_agent(processes, name, configuration)
        processes.wait_until(lambda: bool(observer.arrivals), f"status of {name}", CONNECT_TIMEOUT_S, 0.01)
        seconds = observer.arrivals[0].at_s - begun_s
    time.sleep(SETTLE_S)
    rss_mb = processes.rss_mb(name)
    agent.terminate()
    agent.wait(CONNECT_TIMEOUT_S)
    if pin is not None:
        with closing(Memory(configuration.parent / "state" / FILE)) as memory:
            if memory.seen().round != round_of(NOTHING_TO_DO):
                raise RuntimeError(f"{name} has not taken the announcement, so it has checked no signature")
    return seconds, rss_mb


def _bare_mb(statement: str) -> float:
    """Resident MB of a Python that has executed one statement, as it tells itself."""
    tell = "import pathlib; print(pathlib.Path('/proc/self/statm').read_text().split()[1])"
    environment = {**os.environ, **fedge_side.ENVIRONMENT}
    result = subprocess.run(
        [sys.executable, "-c", f"{statement}\n{tell}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=CONNECT_TIMEOUT_S,
        env=environment,
    )
    return int(result.stdout) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _idle_supernode_mb(processes: Processes, programs: Path, home: Path) -> float:
    peer = flower_peer.FlowerPeer(processes, programs, home)
    peer.start_superlink()
    name = peer.start_supernode(0, 1)
    time.sleep(FLOWER_SETTLE_S)
    return processes.rss_mb(name)


def _write_data(path: Path) -> None:
    rng = np.random.default_rng(1)
    names = np.array([f"pixel_{index}" for index in range(FEATURES)])
    X = rng.uniform(0, 16, (SAMPLES, FEATURES)).astype(np.float32)
    np.savez(path, X=X, y=rng.integers(0, 10, SAMPLES), features=names)


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [f"{report['starts']} starts on {report['machine']}", ""]
    lines.append(f"{'':<40}{'median':>10}{'min':>10}{'max':>10}")
    for label, key, form, _ in ROWS:
        spread = report[key]
        lines.append(
            f"{label:<40}" + "".join(f"{spread[part]:>10{form}}" for part in ("median", "min", "max"))
        )
    if "flower" in report:
        label = f"Flower {report['flower']['version']}: SuperNode + SuperExec, MB"
        lines.append(f"{label:<40}{report['flower']['idle_mb']:>10.1f}")
    else:
        lines.append(
            "Flower: not measured, its environment is not there (benchmarks.round_vs_flower makes it)"
        )
    return "\n".join(lines)


def main() -> int:
    """Parse the arguments, measure, print, and judge."""
    parser = arguments(__doc__, f"{QUICK_STARTS} starts instead of {STARTS}, and no peer")
    parser.add_argument("--starts", type=int, default=STARTS)
    parser.add_argument(
        "--flower-environment",
        type=Path,
        default=flower_peer.DEFAULT_FOLDER,
        help="virtual environment with Flower; left out if it is not there",
    )
    options = parser.parse_args()
    end_cleanly_on_sigterm()
    if options.quick:
        report = measure(QUICK_STARTS, None)
    else:
        report = measure(options.starts, options.flower_environment)
    goals = [
        Goal(label, report[key]["median"], at_most=goal) for label, key, _, goal in ROWS if goal is not None
    ]
    return judged(report, table(report), goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
