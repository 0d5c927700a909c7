"""Programs of other versions: recorded ones, those of this repository's history, and one still to come.

`recorded("0.2.0", folder)` is what most tests want: real programs of that version, out of its wheel.
"""

import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.system.fleet_of_processes import FleetOfProcesses

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).parent / "recorded"
"""A folder for each version, made by `tests.system.recording`."""
DEVICES = ("device-0", "device-1", "device-2")
"""Those of `federations.steady`."""

# What a version to come may do within v1 of the protocol: say more in every message, at every depth. Only a
# network and a plan have no fields to pass over: who does not know one of theirs declines.
FUTURE = """
from fedge.wire import encoding as wire

def more(value):
    if isinstance(value, dict):
        grown = {key: part if key in ("network", "plan") else more(part) for key, part in value.items()}
        return {**grown, "said_by_the_future": 1.5}
    return [more(part) for part in value] if isinstance(value, list | tuple) else value

said = wire.encode
wire.encode = lambda message: said(more(message))
"""
# A version to come that can more: a plan with a proximal term, and another codec.
ABLE = """
import fedge.algorithms.plan
from fedge.algorithms.codecs.float32 import Float32
from fedge.algorithms.registry import Entry, register

class Plan(fedge.algorithms.plan.Plan):
    proximal: float | None = None

fedge.algorithms.plan.Plan = Plan
register(Entry("codec", "half", Float32))
"""
# Today's programs as they were before a codec, and before an option of one.
WITHOUT_DRIVE = """
import fedge.algorithms.codecs.drive as drive
del drive.ENTRY
"""
WITHOUT_ENTROPY = """
from dataclasses import replace
import fedge.algorithms.codecs.int4 as int4
from fedge.algorithms.registry import Options
int4.ENTRY = replace(int4.ENTRY, options=Options)
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
        """`agent` or `aggregator` with a configuration."""
        return self.program(module, "--config", str(config), *options)

    def program(self, module: str, *arguments: str) -> list[str]:
        """Any of the three programs: `agent`, `aggregator` or `fleet` with what follows its name."""
        return [sys.executable, "-c", self.preparation + RUN, module, *arguments]


TODAY = Version("today's")
TO_COME = Version("a later one", FUTURE)
ABLE_TO_MORE = Version("a later one that can more", ABLE)
BEFORE_DRIVE = Version("one without drive", WITHOUT_DRIVE)
BEFORE_ENTROPY = Version("one whose int4 has no options", WITHOUT_ENTROPY)


def checked_out(commit: str, folder: Path) -> Version | None:
    """The programs as they were at a commit, put into a folder; None where the history has no such commit."""
    archive = ["git", "-C", str(ROOT), "archive", "--format=tar", commit]
    packed = subprocess.run(archive, capture_output=True, check=False)
    if packed.returncode != 0:
        return None
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return _at(commit, folder)


def recorded(version: str, folder: Path) -> Version:
    """The programs of a recorded version, unpacked into a folder; a folder that is there is used as it is."""
    if not folder.exists():
        (wheel,) = (RECORDED / version).glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(folder)
    return _at(version, folder)


def _at(name: str, folder: Path) -> Version:
    return Version(name, f"import sys\nsys.path.insert(0, {str(folder)!r})\n")


def start(fleet: FleetOfProcesses, version: Version, *names: str) -> None:
    """Start these programs, or start them again in this version: `aggregator`, or devices by name."""
    for name in names:
        if name in fleet.programs:
            # 0.1.0 could be aborted when it was ended in the middle of an export.
            assert fleet.terminate(name) in (0, -signal.SIGABRT)
        begin(fleet, version, name)


def begin(fleet: FleetOfProcesses, version: Version, name: str) -> None:
    """Start a program that does not run, in this version: `aggregator`, or a device by its name."""
    if name == "aggregator" and version == TODAY:
        fleet.start_aggregator("--exit-when-done")
    elif name == "aggregator":
        config = fleet.folder / "federation.toml"
        fleet.start_program(name, version.command("aggregator", config, "--exit-when-done"))
    elif version == TODAY:
        fleet.start_devices(name)
    else:
        fleet.start_program(name, version.command("agent", fleet.devices[name].config))


def reach(fleet: FleetOfProcesses, number: int) -> None:
    """Let learning go on to where a round lacks nothing but device-2, which is held in it."""
    fleet.devices["device-2"].hold(number + 1)  # the first reading is the survey's
    fleet.until(lambda: fleet.admitted(number) == {"device-0", "device-1"}, f"round {number} waits")
