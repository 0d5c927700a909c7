"""Programs of other versions: an earlier one, out of this repository's history, and one still to come."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

# What a version to come may do within v1 of the protocol: say more in every message, at every depth. Only a
# network has no unknown fields: who does not know one cannot compute the layer it belongs to.
FUTURE = """
from fedge import wire

def more(value):
    if isinstance(value, dict):
        grown = {key: part if key == "network" else more(part) for key, part in value.items()}
        return {**grown, "said_by_the_future": 1.5}
    return [more(part) for part in value] if isinstance(value, list | tuple) else value

said = wire.encode
wire.encode = lambda message: said(more(message))
"""
RUN = """
import runpy, sys
module, sys.argv[0] = sys.argv[1], sys.argv[1]
del sys.argv[1]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Version:
    """How a program of some version is started."""

    name: str
    preparation: str = ""
    """Python that runs before the program."""

    def command(self, module: str, config: Path, *options: str) -> list[str]:
        program = self.preparation + RUN
        return [sys.executable, "-c", program, module, "--config", str(config), *options]


TODAY = Version("today's")
TO_COME = Version("a later one", FUTURE)


def checked_out(commit: str, folder: Path) -> Version | None:
    """The programs as they were at a commit, put into a folder; None where the history has no such commit."""
    archive = ["git", "-C", str(ROOT), "archive", "--format=tar", commit]
    packed = subprocess.run(archive, capture_output=True, check=False)
    if packed.returncode != 0:
        return None
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return Version(commit, f"import sys\nsys.path.insert(0, {str(folder)!r})\n")
