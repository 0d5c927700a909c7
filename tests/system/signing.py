"""A federation whose announcements are signed, at a broker that lets everybody in."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fleet.demo.processes import our_packages
from fleet.pki.signing_key import make_signing_key
from tests.system.fleet_of_processes import PATIENCE_S, FleetOfProcesses


@dataclass(frozen=True)
class Keys:
    """Everybody may connect; only the signing key tells the aggregator from others."""

    folder: Path
    federation: str

    @classmethod
    def made(cls, folder: Path, federation: str) -> Self:
        keys = cls(folder, federation)
        keys.signing_public.write_bytes(make_signing_key(keys.signing_key))
        return keys

    @property
    def signing_key(self) -> Path:
        return self.folder / "signing.key"

    @property
    def signing_public(self) -> Path:
        return self.folder / "pinned.pub"

    def access(self, _member: str) -> Mapping[str, Any]:
        return {}


def change_key(fleet: FleetOfProcesses) -> None:
    """Let another key sign from the aggregator's next start on."""
    command = [sys.executable, "-m", "fleet", "rotate-key", "--folder", str(fleet.folder)]
    subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, **our_packages()}, timeout=PATIENCE_S
    )
