"""A booted Debian to install on: `booted-debian.sh`, and what tests do with such a machine."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SCRIPT = Path(__file__).parent / "booted-debian.sh"
ROOT = Path(__file__).parents[2]
PATIENCE_S = 300.0
"""The machine may be slow and busy; nothing is asserted about how long something took."""


class Debian:
    """The machine. Its files stay when it is powered off; `wipe` ends it.

    Args:
        name: of the machine; two at a time need two names,
        net: and the first three numbers of two networks.
    """

    def __init__(self, name: str = "fedge-debian", net: str = "10.213.58") -> None:
        base = "/var/tmp/fedge-debian.base"  # all are copies of one
        self._environment = {**os.environ, "NAME": name, "NET": net, "BASE": base}
        self.root = Path("/var/tmp") / name

    def _script(self, *arguments: str | Path, **options: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(SCRIPT), *map(str, arguments)],
            env=self._environment,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            **options,  # type: ignore[call-overload]
        )

    def _do(self, *arguments: str | Path) -> None:
        # Not captured: what it leaves behind (the machine) would hold the pipe open.
        done = self._script(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert done.returncode == 0, f"{arguments[0]}: {done.stderr}"

    def up(self) -> None:
        """Boot it, and make it first if need be."""
        log = self.root.with_suffix(".up")
        with log.open("w") as file:
            done = self._script("up", stdout=file, stderr=file)
        assert done.returncode == 0, log.read_text()

    def down(self) -> None:
        """Power it off."""
        self._do("down")

    def kill(self) -> None:
        """Pull the plug."""
        self._do("kill")

    def wipe(self) -> None:
        """Delete it."""
        self._do("wipe")

    def copy(self, source: Path, target: str) -> None:
        """Copy a file or folder into it."""
        path = self.root / target.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._do("copy", source, target)

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a program inside, whatever becomes of it."""
        return self._script("exec", *command, capture_output=True, timeout=900)

    def get(self, *command: str) -> str:
        """Run a program inside that must succeed; returns what it printed."""
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def sh(self, text: str) -> str:
        """Run shell commands inside, in root's home; each must succeed."""
        return self.get("bash", "-euc", f"cd /root\n{text}")

    def property(self, unit: str, name: str) -> str:
        """A property of a unit, as systemd shows it."""
        return self.get("systemctl", "show", "--value", f"--property={name}", unit)

    def outside(self, process: int) -> int:
        """The number that this machine knows a process inside by."""
        for path in Path("/proc").glob("[0-9]*"):
            try:
                numbers = next(line for line in (path / "status").read_text().splitlines() if "NSpid" in line)
                if numbers.split()[2:] == [str(process)] and (path / "root").samefile(self.root):
                    return int(path.name)
            except (OSError, StopIteration):
                continue
        raise AssertionError(f"no process {process} inside")

    def journal(self, unit: str) -> list[str]:
        """What a unit said and what systemd said of it."""
        return self.get("journalctl", "--no-pager", "--output=cat", "--unit", unit).splitlines()

    def until(self, condition: Callable[[], object], what: str, *units: str) -> None:
        """Wait until something has come true; else fail with the last words of these units."""
        due_s = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > due_s:
                logs = "\n".join("\n".join([unit, *self.journal(unit)[-30:]]) for unit in units)
                raise AssertionError(f"it did not come true: {what}\n{logs}")
            time.sleep(0.3)

    def says(self, unit: str, text: str, *, after: int = 0) -> None:
        """Wait until the unit's journal has this text, in a line after so many."""
        self.until(
            lambda: any(text in line for line in self.journal(unit)[after:]), f"{unit}: {text!r}", unit
        )


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout; returns its path."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check"]
    done = subprocess.run(
        [*command, "--outdir", str(folder), str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel
