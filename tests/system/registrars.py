"""`fedge registrar` as a process, and devices that ask it."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.demo.processes import Program, spawn, stop
from fleet.pki.claims import Claims
from fleet.pki.folder import FederationFolder
from fleet.pki.register import Register
from tests import milestones

PATIENCE_S = 90.0


class RegistrarProcess:
    """It runs from `start` to `stop` or `kill`."""

    def __init__(self, folder: FederationFolder) -> None:
        self.folder = folder
        self.log = folder.root.parent / "registrar.log"
        self._program: Program | None = None

    def start(self) -> None:
        """Start it; returns when it listens."""
        before = self.says(milestones.LISTENING)
        command = [sys.executable, "-m", "fleet", "registrar", "--folder", str(self.folder.root)]
        self._program = spawn("the registrar", command, self.log)
        self.until_it_says(milestones.LISTENING, before + 1)

    def says(self, words: str) -> int:
        """How often this stands in its log."""
        return self.log.read_text().count(words) if self.log.exists() else 0

    def until_it_says(self, words: str, times: int = 1) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while self.says(words) < times:
            assert self._program is not None
            assert self._program.exit_code is None, str(self._program.died())
            assert time.monotonic() < deadline_s, (
                f"the registrar did not say: {words}\n{self.log.read_text()}"
            )
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self._program is not None
        self._program.process.kill()
        self._program.process.wait()

    def stop(self) -> None:
        if self._program is not None:
            stop([self._program])

    def used(self, claim: str) -> int:
        """How many uses of a claim are counted."""
        with Register(self.folder.register) as register:
            kept = Claims(register).find(claim)
        assert kept is not None
        return kept.claim.used


@contextmanager
def registrar(folder: FederationFolder) -> Iterator[RegistrarProcess]:
    """Started; ended at the end, and its log is shown where the test has failed."""
    process = RegistrarProcess(folder)
    try:
        process.start()
        yield process
    finally:
        process.stop()
        print(process.log.read_text() if process.log.exists() else "the registrar said nothing")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
