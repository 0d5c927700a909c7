"""docs/arm.md, command by command: the agent installed and learning in emulated ARM userlands.

The first run builds each userland, some four minutes; see tests/deploy/arm.sh.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.system import fleet_of_processes
from tests.system.audit import check_books, check_stores
from tests.system.federations import as_csv, motions, steady
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.production import Production, needs_mosquitto, production

pytestmark = [
    pytest.mark.long,
    needs_mosquitto,
    pytest.mark.skipif(os.geteuid() != 0, reason="userlands are mounted and entered as root"),
]

ROOT = Path(__file__).parents[2]
SCRIPT = str(Path(__file__).with_name("arm.sh"))
PAGE = ROOT / "docs" / "arm.md"
AGENT = "/opt/fedge/agent/bin/fedge-agent"
INSIDE = "/srv/fedge-test"
ROUNDS = 5
EMULATED = ("device-0", "device-1")
DISTRIBUTIONS = ("fedge", "numpy", "msgpack", "paho-mqtt", "pydantic", "pydantic-core", "cryptography")

# What was installed, and from where: for each distribution its version, its folder and its wheel's tag.
ASK = """
import importlib.metadata, json, platform
from pathlib import Path

def tag(found):
    wheel = found.read_text("WHEEL") or ""
    return "".join(line.removeprefix("Tag: ") for line in wheel.splitlines() if line.startswith("Tag: "))

seen = {}
for found in importlib.metadata.distributions():
    name = found.metadata["Name"].lower().replace("_", "-")
    seen.setdefault(name, (found.version, str(Path(found.locate_file(""))), tag(found)))
print(json.dumps({"machine": platform.machine(), "installed": seen}))
"""


class Userland:
    """A Debian for another processor."""

    def __init__(self, arch: str) -> None:
        self.arch = arch
        self.root = Path(f"/var/tmp/arm-{arch}")
        self.entered = ["nice", "-n", "10", SCRIPT, "exec", arch]
        subprocess.run(["nice", "-n", "10", SCRIPT, "up", arch], check=True, timeout=1800)
        self.srv = self.root / INSIDE[1:]

    def run(self, *command: str) -> str:
        """Run a command in it; returns what it printed."""
        ran = subprocess.run(
            [*self.entered, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def clear(self) -> None:
        shutil.rmtree(self.srv, ignore_errors=True)
        shutil.rmtree(self.root / "opt" / "fedge", ignore_errors=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check"]
    subprocess.run([*command, "--outdir", str(folder), str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(params=["arm64", "armhf"])
def userland(request: pytest.FixtureRequest, wheel: Path) -> Iterator[Userland]:
    userland = Userland(request.param)
    userland.clear()
    userland.srv.mkdir(parents=True)
    shutil.copy(wheel, userland.srv)
    try:
        yield userland
    finally:
        userland.clear()


def commands(arch: str) -> list[str]:
    """The blocks of docs/arm.md for this processor."""
    title = {"arm64": "64-bit", "armhf": "32-bit"}[arch]
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)


@pytest.fixture
def members() -> Iterator[Production]:
    with production() as made:
        yield made


class Elsewhere:
    """The members of a federation, of which some have their identity where they made it themselves."""

    def __init__(self, members: Production) -> None:
        self._members = members
        self.federation = members.federation
        self.signing_key = members.signing_key
        self.signing_public = members.signing_public

    def access(self, member: str) -> Mapping[str, Any]:
        return {} if member in EMULATED else self._members.access(member)


def enrol(userland: Userland, members: Production) -> None:
    """Let one device join with a token, and the other with a request, carried to the server and back."""
    folder = str(members.folder.root)
    fedge = [sys.executable, "-m", "fleet", "enroll", "--folder", folder]
    by_token, by_request = EMULATED
    token = subprocess.run([*fedge, "--token"], capture_output=True, text=True, check=True).stdout.strip()
    userland.run(
        AGENT, "join", token, "--device", by_token, "--folder", f"{INSIDE}/{by_token}", "--wait", "600"
    )
    userland.run(AGENT, "join", "--request", "--device", by_request, "--folder", f"{INSIDE}/{by_request}")
    (request,) = (userland.srv / by_request).glob("*.csr")
    made = subprocess.run([*fedge, "--csr", str(request)], capture_output=True, text=True, check=True)
    shutil.copy(made.stdout.strip(), userland.srv / "bundle")
    userland.run(AGENT, "join", f"{INSIDE}/bundle", "--folder", f"{INSIDE}/{by_request}")


def move_in(userland: Userland, fleet: FleetOfProcesses, name: str) -> None:
    """Put a device's data into a userland, beside its identity, and start its agent there."""
    inside = userland.srv / name
    for file in ("samples.npz", "samples.py"):
        shutil.copy(fleet.devices[name].folder / file, inside)
    text = (inside / "agent.toml").read_text().partition("\n[data]")[0]
    data = '[data]\nsource = "python"\ncallable = "samples:read"\npath = "."\n[state]\nfolder = "state"\n'
    (inside / "agent.toml").write_text(f"{text}\n{data}")
    fleet.devices[name] = replace(fleet.devices[name], folder=inside)
    fleet.start_program(name, [*userland.entered, AGENT, "--config", f"{INSIDE}/{name}/agent.toml"])


@pytest.mark.timeout(3600)
def test_the_agent_installs_and_learns(
    userland: Userland, members: Production, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_of_processes, "PATIENCE_S", 900.0)
    began_s = time.monotonic()
    for block in commands(userland.arch):
        userland.run("/bin/sh", "-euc", f"cd {INSIDE}\n{block}")
    told = json.loads(userland.run("/opt/fedge/agent/bin/python", "-c", ASK))
    installed = {name: told["installed"][name] for name in DISTRIBUTIONS}
    venv = subprocess.run(
        ["du", "-sk", userland.root / "opt/fedge/agent"], stdout=subprocess.PIPE, check=True
    )
    print(f"{userland.arch}: {told['machine']}, installed in {time.monotonic() - began_s:.0f} s emulated,")
    print(f"{userland.arch}: the environment takes {int(venv.stdout.split()[0]) / 1024:.0f} MiB; {installed}")
    tags = {name: tag for name, (_, _, tag) in installed.items()}
    compiled = ("numpy", "msgpack", "pydantic-core", "cryptography")
    if userland.arch == "arm64":
        assert told["machine"] == "aarch64"
        assert all("aarch64" in tags[name] for name in compiled), tags
    else:
        assert told["machine"] == "armv7l"
        for name in ("numpy", "cryptography"):
            assert installed[name][1] == "/usr/lib/python3/dist-packages"
        assert tags["msgpack"] == "py3-none-any"
        assert "armv7l" in tags["pydantic-core"]

    with FleetOfProcesses(tmp_path / "fleet", members.broker, Elsewhere(members)) as fleet:
        registrar = [sys.executable, "-m", "fleet", "registrar", "--folder", str(members.folder.root)]
        fleet.start_program("registrar", registrar)
        enrol(userland, members)
        steady(fleet, rounds=ROUNDS)
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices("device-2")
        for name in EMULATED:
            move_in(userland, fleet, name)
        assert fleet.ends() == 0
        final = fleet.final_model()
        fleet.until(lambda: all(d.held_model() == final for d in fleet.devices.values()), "all hold it")
        check_stores(fleet)
        assert check_books(fleet) == ROUNDS
        for number in range(ROUNDS + 1):
            assert fleet.admitted(number) == set(fleet.devices)
        seconds = [row.seconds for row in fleet.rounds() if row.closed and row.seconds is not None]
        accuracy = [row.accuracy for row in fleet.rounds() if row.accuracy is not None]
        print(
            f"{userland.arch}: {len(seconds)} rounds, {sum(seconds) / len(seconds):.1f} s each; {accuracy=}"
        )

        for name in EMULATED:
            config = f"{INSIDE}/{name}/agent.toml"
            assert ": renewed; " in userland.run(
                AGENT, "renew", "--config", config, "--force", "--wait", "600"
            )

        (userland.srv / "new.csv").write_text(as_csv(*motions(7)))
        ask = [AGENT, "--config", f"{INSIDE}/device-0/agent.toml", "predict", f"{INSIDE}/new.csv"]
        there = json.loads(userland.run(*ask, "--json"))
        here = fleet.predict(fleet.devices["device-2"], userland.srv / "new.csv")
        for one, other in zip(there["predictions"], here["predictions"], strict=True):
            assert np.allclose(
                [*one["probabilities"].values()], [*other["probabilities"].values()], atol=1e-5
            )
        assert all("Traceback" not in fleet.log(name) for name in ("aggregator", *fleet.devices))
