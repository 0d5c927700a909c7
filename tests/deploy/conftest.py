"""One booted Debian for all tests here, on which docs/deploy.md was walked through."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.debian import ROOT, Debian, build_wheel
from tests.deploy.walk import Walked, sections, walk
from tests.milestones import COUNTS

PAGE = ROOT / "docs" / "deploy.md"
MACHINE = "fedge-debian"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def machine(wheel: Path) -> Iterator[Debian]:
    """As clean as a new server, with the wheel in root's home."""
    if os.geteuid() != 0:
        pytest.skip("a booted Debian needs root")
    debian = Debian(MACHINE)
    debian.wipe()
    debian.up()
    debian.copy(wheel, f"/root/{wheel.name}")
    yield debian
    if not os.environ.get("FEDGE_KEEP_DEBIAN"):
        debian.wipe()


@dataclass(frozen=True)
class Installed:
    """The machine with server and device, and what it took."""

    debian: Debian
    server: Walked
    device: Walked


@pytest.fixture(scope="session")
def installed(machine: Debian) -> Installed:
    """Server and device on the same machine, as the page says; the device's data lie where it looks."""
    debian = machine
    page = sections(PAGE)
    server = walk(debian, page["The server"])
    debian.copy(ROOT / "examples" / "pump-1" / "data.csv", "/srv/pumps/data.csv")
    device_text = page["A device"]
    first, second = device_text.split("**2. On the device,**")
    enrolled = walk(debian, first)
    debian.sh("cp /etc/fedge/federations/pumps/devices/pump-1.fedge .")  # scp, on a machine of its own
    joined = walk(debian, second.partition("**Many devices")[0])
    debian.says("fedge-agent@pumps", COUNTS)
    device = Walked(
        enrolled.commands + joined.commands, enrolled.seconds + joined.seconds, enrolled.said + joined.said
    )
    return Installed(debian, server, device)
