"""docs/operations.md as an operator reads it: its commands are typed as they stand there."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import msgpack

from fleet.demo.processes import our_packages
from tests.system.databases import query
from tests.system.fleet_of_processes import PATIENCE_S, FleetOfProcesses

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


@cache
def blocks() -> dict[str, list[str]]:
    """The commands of each part of the page."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {
        title: re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
        for title, _, text in (part.partition("\n") for part in parts)
    }


class Shell:
    """Where the operator types: the folder of `federation.toml`, with the program on the path."""

    def __init__(self, fleet: FleetOfProcesses) -> None:
        self._folder = fleet.folder
        programs = fleet.folder / "bin"
        programs.mkdir()
        for name, module in (("fedge-aggregator", "aggregator"), ("fedge", "fleet")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
            program.chmod(0o755)
        path = os.pathsep.join((str(programs), os.environ["PATH"]))
        self.environment = {**os.environ, **our_packages(), "PATH": path}

    def tell(self, title: str, number: int = 0) -> str:
        """Run a block of docs/operations.md as it stands there; returns what it printed."""
        code, said = self.type(blocks()[title][number])
        assert code == 0, said
        return said

    def type(self, command: str) -> tuple[int, str]:
        """Run a command; returns its exit code and what it printed."""
        ran = subprocess.run(
            ["/bin/sh", "-euc", command],
            cwd=self._folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return ran.returncode, ran.stdout


def weights(fleet: FleetOfProcesses, generation: int, number: int) -> bytes:
    """A round's model as it was announced, without its head."""
    ((content,),) = query(
        fleet.ledger,
        "SELECT data FROM contents c JOIN rounds r ON c.digest = r.model"
        " WHERE (r.generation, r.round) = (?, ?)",
        generation,
        number,
    )
    return bytes(msgpack.unpackb(content)["body"])


def generations(fleet: FleetOfProcesses) -> set[tuple[int, int]]:
    """Generation and number of every closed round there ever was."""
    return set(query(fleet.ledger, "SELECT generation, round FROM rounds WHERE closed_at IS NOT NULL"))
