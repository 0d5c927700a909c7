"""Start processes, measure the memory of them and their children, and leave none of them behind.

Every process has a mark in its environment, which its children inherit, detached ones too. So /proc shows all
processes that belong to a name, even if the process that started them has ended.
"""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

MARK = "FEDGE_BENCHMARK"
GRACE_S = 5.0


class Processes:
    """Named processes whose output goes to `{logs}/{name}.log`; leaving the context ends every one."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._run = secrets.token_hex(8)
        self._roots: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `command` under a name of its own, with `environment` over this process's own."""
        with (self._logs / f"{name}.log").open("wb") as log:
            self._roots[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(environment or {}), MARK: f"{self._run}/{name}"},
            )
        return self._roots[name]

    def rss_mb(self, name: str) -> float:
        """Resident memory of the processes of one name now, in MB of 10^6 bytes."""
        return sum(_rss_bytes(pid) for pid, owner in self._alive() if owner == name) / 1e6

    @contextmanager
    def peaks_mb(self, names: Sequence[str], every_s: float = 0.25) -> Iterator[dict[str, float]]:
        """While inside, keep the largest `rss_mb` seen of each name; sums of RSS count shared pages twice."""
        peaks = dict.fromkeys(names, 0.0)
        done = threading.Event()

        def watch() -> None:
            while not done.wait(every_s):
                now = dict.fromkeys(names, 0.0)
                for pid, owner in self._alive():
                    if owner in now:
                        now[owner] += _rss_bytes(pid) / 1e6
                for name, rss_mb in now.items():
                    peaks[name] = max(peaks[name], rss_mb)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield peaks
        finally:
            done.set()
            watcher.join()

    def wait_until(
        self, ready: Callable[[], bool], what: str, timeout_s: float, every_s: float = 0.1
    ) -> None:
        """Poll until `ready()`.

        Raises:
            RuntimeError: it takes longer than `timeout_s`, or one of the processes failed meanwhile; the
                text ends with the log of the one that did.
        """
        deadline_s = time.monotonic() + timeout_s
        while not ready():
            for name, process in self._roots.items():
                if process.poll():
                    raise RuntimeError(f"{name} ended with {process.returncode}:\n{self.log(name)}")
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"no {what} within {timeout_s:.0f} s; logs are in {self._logs}")
            time.sleep(every_s)

    def log(self, name: str, lines: int = 20) -> str:
        """The last lines that `name` wrote."""
        text = (self._logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """SIGTERM, and after a grace SIGKILL, to all that carries this run's mark."""
        for signum in (signal.SIGTERM, signal.SIGKILL):
            for pid, _ in self._alive():
                _kill(pid, signum)
            deadline_s = time.monotonic() + GRACE_S
            while time.monotonic() < deadline_s and any(True for _ in self._alive()):
                for process in self._roots.values():
                    process.poll()
                time.sleep(0.05)
        for process in self._roots.values():
            process.wait(GRACE_S)
        self._roots.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _alive(self) -> Iterator[tuple[int, str]]:
        """Each living process of this run and the name it belongs to."""
        prefix = f"{MARK}={self._run}/".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:  # it has just ended, or is another user's
                continue
            for variable in variables:
                if variable.startswith(prefix):
                    yield int(entry.name), variable.removeprefix(prefix).decode()


def end_cleanly_on_sigterm() -> None:
    """Turn SIGTERM into SystemExit, so that every `with` ends what it started."""

    def leave(signum: int, frame: FrameType | None) -> None:
        sys.exit(128 + signum)

    signal.signal(signal.SIGTERM, leave)


def _rss_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _kill(pid: int, signum: int) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return
