"""Run Flower's deployment engine on this machine, in its own environment with a SuperLink and SuperNodes."""

import json
import os
import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import free_port, listens
from benchmarks.processes import Processes

REQUIREMENTS = ("flwr>=1.41", "numpy>=1.24")
DEFAULT_FOLDER = Path.home() / ".cache" / "fedge-bench" / "flower"
APP = Path(__file__).with_name("flower_app")
INSTALL_TIMEOUT_S = 600
START_TIMEOUT_S = 90
ROUND_TIMEOUT_S = 90


@dataclass(frozen=True)
class FlowerRun:
    """The results of one run of the app: seconds of each round, final test accuracy, MB of each node."""

    seconds: list[float]
    accuracy: float
    node_mb: list[float]


def is_installed(folder: Path) -> bool:
    """Whether `install` has nothing to do."""
    return (folder / "bin" / "flower-supernode").exists()


def install(folder: Path) -> Path:
    """Make the virtual environment if it is not there; returns the folder of its programs."""
    programs = folder / "bin"
    if not is_installed(folder):
        venv.create(folder, with_pip=True)
        subprocess.run(
            [programs / "python", "-m", "pip", "install", "--quiet", *REQUIREMENTS],
            check=True,
            timeout=INSTALL_TIMEOUT_S,
        )
    return programs


def version(programs: Path) -> str:
    """The installed Flower's version."""
    command = [str(programs / "python"), "-c", "import importlib.metadata as m; print(m.version('flwr'))"]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return result.stdout.strip()


class FlowerPeer:
    """One SuperLink with its nodes; its files lie in `home`."""

    def __init__(self, processes: Processes, programs: Path, home: Path) -> None:
        self._processes = processes
        self._programs = programs
        self._home = home
        self._port = free_port()
        home.mkdir()
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "local"\n\n'
            f'[superlink.local]\naddress = "127.0.0.1:{self._port}"\ninsecure = true\n',
            encoding="utf-8",
        )
        self._environment = {
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",  # SuperNodes find SuperExec there
        }

    def start_superlink(self) -> None:
        """Start it and wait until it listens."""
        self._start(
            "superlink",
            "flower-superlink",
            *("--insecure", "--disable-runtime-dependency-installation", "--port", str(self._port)),
        )
        self._processes.wait_until(lambda: listens(self._port), "SuperLink", START_TIMEOUT_S)

    def start_supernode(self, node: int, nodes: int) -> str:
        """Start node `node` of `nodes`; returns the name under which its processes are measured."""
        name = f"supernode-{node}"
        self._start(
            name,
            "flower-supernode",
            *("--insecure", "--superlink", f"127.0.0.1:{self._port}", "--port", str(free_port())),
            *("--node-config", f"partition-id={node} num-partitions={nodes}"),
        )
        return name

    def run(self, data: Path, *, nodes: int, rounds: int, seed: int) -> FlowerRun:
        """Start `nodes` SuperNodes and run the digits app over the files in `data`.

        Raises:
            RuntimeError: a process failed or a wait was too long; names the log.
        """
        names = [self.start_supernode(node, nodes) for node in range(nodes)]
        settings = f"nodes={nodes} rounds={rounds} seed={seed} folder={json.dumps(str(data))}"
        result = data / "flower.json"
        with self._processes.peaks_mb(names) as peaks:
            self._start("flwr-run", "flwr", "run", str(APP), "local", "--run-config", settings)
            timeout_s = START_TIMEOUT_S + rounds * ROUND_TIMEOUT_S
            self._processes.wait_until(result.exists, "end of Flower's run", timeout_s, every_s=0.5)
        return FlowerRun(**json.loads(result.read_text(encoding="utf-8")), node_mb=list(peaks.values()))

    def _start(self, name: str, program: str, *arguments: str) -> None:
        self._processes.start(name, [self._programs / program, *arguments], environment=self._environment)
