"""A small fleet of real processes: written, started, killed, watched through its ledger, and always ended.

Nothing here sleeps for a fixed time: `until` polls what the programs themselves have made durable.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from aggregator.ledger.views import Declined, DeviceRow, RoundRow, read_devices, read_rounds
from fedge.errors import StateError
from fleet.demo.broker import Broker
from fleet.demo.processes import Program, our_packages, spawn, stop
from tests import milestones
from tests.system import forked
from tests.system.databases import query
from tests.system.devices import SAMPLES, Device
from tests.system.toml_text import toml

PATIENCE_S = 120.0
"""How long anything may take on a machine that is busy with something else too."""


class Members(Protocol):
    """Who has an identity of its own, where the broker asks for one."""

    federation: str
    signing_key: Path
    """What the aggregator signs with."""
    signing_public: Path
    """What devices check with."""

    def access(self, member: str) -> Mapping[str, Any]:
        """What stands in the `[broker]` of a device or of the `aggregator`, or in `[watch]`."""


def is_stopped(thread: Path) -> bool:
    """Whether a thread stands still (proc(5): the state comes after the name, which is in parentheses)."""
    try:
        return (thread / "stat").read_text().rpartition(") ")[2].startswith("T")
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return False


class FleetOfProcesses:
    """One federation on one machine; leaving the context ends every process and prints every log."""

    def __init__(
        self, folder: Path, broker: Broker, access: Members | Mapping[str, Any] | None = None
    ) -> None:
        self.folder = folder
        self.broker = broker
        self.members = access if access is not None and not isinstance(access, Mapping) else None
        self.access: Mapping[str, Any] = access if isinstance(access, Mapping) else {}
        """What else stands in everybody's `[broker]`: a username, a keep-alive."""
        self.prefixes: dict[str, Sequence[str]] = {}
        """What stands before a program's command, by its name: a network namespace, a false clock."""
        self.name = self.members.federation if self.members else f"test-{uuid4().hex[:12]}"
        self.devices: dict[str, Device] = {}
        self.programs: dict[str, Program] = {}
        self.state = folder / "state"
        self.export = folder / "export"
        self._logs: list[Path] = []
        self._lives: Counter[str] = Counter()
        (folder / "logs").mkdir(parents=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in self.programs.values():
            program.process.send_signal(signal.SIGCONT)  # a stopped process does not hear SIGTERM
        stop(self.programs.values())
        for log in self._logs:  # pytest shows this where the test has failed
            print(f"── {log.name}\n{log.read_text(errors='replace')}")

    # ── writing ────────────────────────────────────────────────────────────────────────────────────

    def configure(self, file: str = "federation.toml", **tables: Any) -> None:
        """Write the aggregator's configuration; every table is given whole."""
        content = {
            "federation": {"name": self.name, **tables.pop("federation", {})},
            "broker": self._access("aggregator"),
            "state": {"folder": "state"},
            "export": {"folder": "export"},
            **tables,
        }
        if self.members is not None:
            content["signing"] = {"key": str(self.members.signing_key)}
            if watch := self.members.access("watch"):
                content["watch"] = watch
        (self.folder / file).write_text(toml(content))

    def _access(self, member: str) -> dict[str, Any]:
        own = self.members.access(member) if self.members is not None else {}
        return {"url": self.broker.url, **own, **self.access}

    def device(
        self,
        name: str,
        X: NDArray[Any],
        y: NDArray[Any],
        *,
        access: Mapping[str, Any] | None = None,
        **data: Any,
    ) -> Device:
        """Add a device whose samples are arrays, and which can be held in mid-round.

        `access`: what stands in its own `[broker]` instead of everybody's.
        """
        source = {"source": "python", "callable": "samples:read", "path": ".", **data}
        device = self._device(name, source, access)
        np.savez(device.folder / "samples.npz", X=X, y=y)
        (device.folder / "samples.py").write_text(SAMPLES)
        return device

    def csv_device(self, name: str, text: str, **data: Any) -> Device:
        """Add a device that reads `data.csv`."""
        device = self._device(name, {"source": "csv", "path": "data.csv", **data})
        (device.folder / "data.csv").write_text(text)
        return device

    def _device(self, name: str, data: Mapping[str, Any], access: Mapping[str, Any] | None = None) -> Device:
        device = Device(name, self.folder / name)
        device.folder.mkdir()
        tables = {
            "federation": self.name,
            "device": name,
            "broker": {**self._access(name), **(access or {})},
            "data": data,
            "state": {"folder": "state"},
        }
        if self.members is not None:
            tables["trust"] = {"key": str(self.members.signing_public)}
        device.config.write_text(toml(tables))
        self.devices[name] = device
        return device

    # ── running ────────────────────────────────────────────────────────────────────────────────────

    def start_devices(self, *names: str) -> None:
        """Start these agents, or all."""
        for name in names or self.devices:
            self._start(name, "agent", "--config", str(self.devices[name].config))

    def start_aggregator(
        self, *options: str, config: str = "federation.toml", name: str = "aggregator"
    ) -> Program:
        return self._start(name, "aggregator", "--config", str(self.folder / config), *options)

    def start_program(self, name: str, command: Sequence[str]) -> Program:
        """Start another program in the place of this fleet's own: elsewhere installed, of another version."""
        self.programs[name] = spawn(name, command, self._log(name))
        return self.programs[name]

    def _start(self, name: str, module: str, *arguments: str) -> Program:
        prefix = self.prefixes.get(name, ())
        if forked.can_start(module) and (not prefix or prefix[0] == "env"):
            variables = dict(word.split("=", 1) for word in prefix[1:])
            life = self._lives[name]
            self._lives[name] += 1
            log = self._log(name)
            self.programs[name] = Program(name, forked.start(module, arguments, log, life, variables), log)
            return self.programs[name]
        return self.start_program(name, [*prefix, sys.executable, "-m", module, *arguments])

    def _log(self, name: str) -> Path:
        log = self.folder / "logs" / f"{name}.log"
        if log not in self._logs:
            self._logs.append(log)
        return log

    def kill(self, name: str) -> None:
        """End a program as a power cut would."""
        program = self.programs.pop(name)
        program.process.kill()
        program.process.wait()

    def pause(self, name: str) -> None:
        """Stop a program where it is; when this returns, it does."""
        process = self.programs[name].process
        process.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{process.pid}/task")
        if threads.exists():  # Linux
            self.until(lambda: all(is_stopped(thread) for thread in threads.iterdir()), f"{name} is stopped")
        else:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)

    def resume(self, name: str) -> None:
        self.programs[name].process.send_signal(signal.SIGCONT)

    def hold_at_work(self, name: str) -> None:
        """Hold a running device in the next reading that it begins, and wait until it is there.

        It stands still while its readings are counted: else it could begin another one meanwhile.
        """
        device = self.devices[name]
        self.pause(name)
        read = device.reads + 1
        device.hold(read)
        self.resume(name)
        self.until(lambda: device.reads == read, f"{name} is held at work")

    def terminate(self, name: str) -> int:
        """Ask a program to end; returns its exit code."""
        program = self.programs.pop(name)
        program.process.terminate()
        return program.process.wait(PATIENCE_S)

    def ends(self, name: str = "aggregator") -> int:
        """Wait for a program to end by itself; returns its exit code."""
        program = self.programs.pop(name)
        self.until(lambda: program.exit_code is not None, f"{name} ends")
        code = program.exit_code
        assert code is not None
        return code

    def log(self, name: str = "aggregator") -> str:
        return (self.folder / "logs" / f"{name}.log").read_text(errors="replace")

    def connections(self, name: str = "aggregator") -> int:
        """How often a program has told that it is connected, over all its lives."""
        return self.log(name).count(milestones.CONNECTED)

    def is_cut_off(self, name: str = "aggregator") -> bool:
        """Whether a program has told that a connection has ended."""
        return milestones.NOT_CONNECTED in self.log(name)

    def times_learnt(self) -> int:
        """How often the aggregator has told that learning is done, over all its lives."""
        return self.log().count(milestones.LEARNING_DONE)

    def predict(self, device: Device, file: Path) -> dict[str, Any]:
        """What `fedge-agent predict` prints."""
        arguments = ["--config", str(device.config), "predict", str(file), "--json"]
        found = subprocess.run(
            [sys.executable, "-m", "agent", *arguments],
            capture_output=True,
            check=True,
            env={**os.environ, **our_packages()},
            timeout=PATIENCE_S,
        )
        answer: dict[str, Any] = json.loads(found.stdout)
        return answer

    # ── watching ───────────────────────────────────────────────────────────────────────────────────

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something is true; fail if it does not come, or if a program has died meanwhile."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            for program in self.programs.values():
                if program.exit_code is not None:
                    raise AssertionError(f"waiting until {what}: {program.died()}")
            assert time.monotonic() < deadline_s, f"this did not happen: {what}; rounds: {self.rounds()}"
            time.sleep(0.01)

    def until_connected(self, *names: str) -> None:
        """Wait until these devices, or all, have been connected."""
        self.until(lambda: all(self.connections(name) for name in names or self.devices), "all are connected")

    @property
    def ledger(self) -> Path:
        return self.state / "ledger.db"

    def rounds(self) -> list[RoundRow]:
        """The rounds of the newest generation that make a model; none while there is no ledger."""
        try:
            return [row for row in read_rounds(self.ledger) if row.kind != "evaluate"]
        except StateError:
            return []

    def seen(self) -> dict[str, DeviceRow]:
        try:
            return {row.device: row for row in read_devices(self.ledger)}
        except StateError:
            return {}

    def declined(self, device: str) -> Declined | None:
        """Why a device takes no part at present."""
        seen = self.seen().get(device)
        return seen.declined if seen is not None else None

    def answers(self, number: int, generation: int = 1) -> dict[str, tuple[str, int, bytes]]:
        """Verdict, n_k and digest by device, of one round."""
        rows = query(
            self.ledger,
            "SELECT device, verdict, samples, digest FROM answers WHERE generation = ? AND round = ?",
            generation,
            number,
        )
        return {device: (verdict, samples, digest) for device, verdict, samples, digest in rows}

    def admitted(self, number: int) -> set[str]:
        return {device for device, answer in self.answers(number).items() if answer[0] == "admitted"}

    def final_model(self) -> bytes:
        """The digest of the model of the last closed round."""
        rows = query(
            self.ledger,
            "SELECT model FROM rounds WHERE generation = (SELECT generation FROM life)"
            " AND closed_at IS NOT NULL ORDER BY round DESC LIMIT 1",
        )
        return bytes(rows[0][0])
