"""The power is cut again and again under a whole federation in one virtual machine; its disk is judged.

    python -m tests.power.cuts --seed 1 --cuts 50     (as root; the first time, the machine's image is built)

What it said before a cut is heard outside of it, over its network: that may not be forgotten.
"""

import argparse
import compileall
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.shell import model_file
from agent.shell.memory import Memory
from agent.shell.memory_layout import FILE as MEMORY
from aggregator.aggregation.replay import replay
from fedge.wire.messages.manifest import Manifest
from fleet.demo.broker import free_port
from tests.power.image import ROOT, image
from tests.power.machine import PATIENCE_S, Machine
from tests.system.audit import check_books
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.wiretap import Wiretap

DEVICES = 3
SEED = 7
STARTING = 0.25
"""The part of the cuts that come while the programs start."""
LONGEST_START_S, LONGEST_RUN_S = 12.0, 8.0

FormSettings = dict[tuple[str, bytes], tuple[int, int]]
"""Updates said to be admitted, by device and digest: generation and round."""


@dataclass(frozen=True)
class Verdict:
    """What became of a federation under power cuts; all checks have been passed."""

    seed: int
    cuts: int
    while_starting: int
    rounds: int
    """Closed, the survey's included; after every cut all of them were computed again, to the bit."""
    receipts: int
    """"admitted", heard before a cut; all were in the ledger after it."""
    broker_databases_damaged: int
    """Put aside before the broker started."""
    seconds: float


def run(folder: Path, seed: int, cuts: int, *, spoil: Callable[[Path], None] | None = None) -> Verdict:
    """Cut the power so many times; then let the federation close two more rounds, and cut it once more.

    Args:
        folder: an empty one, for the disk and a mirror of it.
        seed: of the moments.
        cuts: how many.
        spoil: changes the programs' code in the machine; gets the folder of the packages.

    Raises:
        AssertionError: something was lost, counted twice or cannot be read; the federation does not go on, or
            one of its programs ended.
    """
    began_s = time.monotonic()
    machine = Machine(image(), folder, free_port())
    try:
        with FleetOfProcesses(folder / "fleet", machine) as fleet:
            _install(folder, fleet, machine, spoil)
            chance = random.Random(seed)
            said: FormSettings = {}
            starting = closed = 0
            for _ in range(cuts):
                early = chance.random() < STARTING
                starting += early
                with _booted(machine, fleet) as tap:
                    if early:
                        time.sleep(chance.uniform(0, LONGEST_START_S))
                    else:
                        _until(machine, lambda: bool(_admitted(tap)), "an update is admitted again")
                        time.sleep(chance.uniform(0, LONGEST_RUN_S))
                    closed = _cut_and_judge(machine, fleet, tap, said, closed)
                    print(f"cut {machine.cuts}: {closed} rounds, {len(said)} receipts", file=sys.stderr)
            with _booted(machine, fleet) as tap:
                goal = closed + 2
                _until(
                    machine, lambda: (now := tap.manifest()) is not None and now.round > goal, "it goes on"
                )
                closed = _cut_and_judge(machine, fleet, tap, said, closed)
            damaged = len(list((fleet.folder / "broker").glob("*.damaged-*")))
    except BaseException:
        print(machine.console(), file=sys.stderr)
        raise
    finally:
        machine.stop()
    seconds = round(time.monotonic() - began_s, 1)
    return Verdict(seed, machine.cuts, starting, closed, len(said), damaged, seconds)


def _install(
    folder: Path, fleet: FleetOfProcesses, machine: Machine, spoil: Callable[[Path], None] | None
) -> None:
    """Write the federation's files and the programs, and make a disk of them."""
    fleet.configure(
        federation={"seed": SEED},
        model=CLASSIFIER,
        plan={"epochs": 1, "batch_size": 16, "learning_rate": 0.05},
        rounds={"quorum": DEVICES, "target": DEVICES, "deadline_s": 300.0},
        stopping={"rounds": 1_000_000},
        state={"folder": "state", "keep_rounds": 1_000_000},
    )
    for number in range(DEVICES):
        fleet.device(f"device-{number}", *motions(number))
    (fleet.folder / "broker").mkdir()
    settings = (ROOT / "deploy" / "mosquitto" / "try-out.conf").read_text(encoding="utf-8")
    assert "\nlistener 1883 127.0.0.1\n" in settings
    settings = settings.replace("\nlistener 1883 127.0.0.1\n", f"\nlistener {machine.port}\n")
    (fleet.folder / "mosquitto.conf").write_text(settings, encoding="utf-8")
    content = folder / "content"
    shutil.copytree(fleet.folder, content / "fleet")
    code = content / "code"
    for package in ("fedge", "agent", "aggregator"):
        shutil.copytree(ROOT / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (Path(__file__).with_name("programs.py"), ROOT / "deploy" / "mosquitto" / "quarantine-db"):
        shutil.copyfile(file, code / file.name)
    if spoil is not None:
        spoil(code)
    compileall.compile_dir(code, quiet=1)
    machine.format(content)


@contextmanager
def _booted(machine: Machine, fleet: FleetOfProcesses) -> Iterator[Wiretap]:
    machine.restart()
    with Wiretap(fleet) as tap:
        yield tap


def _until(machine: Machine, condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        machine.check()
        assert time.monotonic() < deadline_s, f"this did not happen: {what}; {machine.console()}"
        time.sleep(0.05)


def _admitted(tap: Wiretap) -> FormSettings:
    heard = list(tap.receipts.items())
    return {key: (r.generation, r.round) for key, r in heard if r.verdict == "admitted"}


def _cut_and_judge(
    machine: Machine, fleet: FleetOfProcesses, tap: Wiretap, said: FormSettings, closed_before: int
) -> int:
    """Returns how many rounds are closed."""
    machine.kill()
    said.update(_admitted(tap))
    machine.mirror(fleet.folder)
    assert not list(fleet.folder.rglob("*.quarantine-*")), "the programs found their state damaged"
    for name in fleet.devices:
        _check_device(fleet, name)
    if not query(fleet.ledger, "SELECT 1 FROM sqlite_master WHERE name = 'rounds'"):
        assert not said, "a ledger that has admitted updates is gone"
        return 0
    check_books(fleet)
    rows = query(fleet.ledger, "SELECT generation, round, model FROM rounds WHERE closed_at IS NOT NULL")
    models = {(generation, number): bytes(model) for generation, number, model in rows}
    assert len(models) >= closed_before, "closed rounds are gone"
    for _, number in models:
        assert replay(fleet.ledger, number, SEED).same, f"round {number} is computed otherwise"
    _check_said(fleet, said)
    if (manifest := tap.manifest()) is not None:
        _check_announced(manifest, models)
    return len(models)


def _check_device(fleet: FleetOfProcesses, name: str) -> None:
    """Its state can be read, and holds the newest update that the aggregator has of it."""
    state = fleet.folder / name / "state"
    model_file.read(state / model_file.FILE)
    if (state / MEMORY).exists():
        Memory(state / MEMORY).close()
    saved = fleet.devices[name].saved()
    newest = query(
        fleet.ledger,
        "SELECT generation, round, digest FROM answers WHERE device = ? AND verdict = 'admitted'"
        " ORDER BY generation DESC, round DESC LIMIT 1",
        name,
    )
    if newest:
        assert saved is not None, f"{name} published an update and forgot it"
        assert saved[:2] >= newest[0][:2], f"{name} published an update and forgot it"
        assert saved[:2] > newest[0][:2] or saved[2] == newest[0][2], (
            f"{name} made a second update of a round"
        )


def _check_said(fleet: FleetOfProcesses, said: FormSettings) -> None:
    """What was said to be admitted is in the ledger, in the same round."""
    rows = query(
        fleet.ledger, "SELECT device, digest, generation, round FROM answers WHERE verdict = 'admitted'"
    )
    kept = {(device, bytes(digest)): (generation, number) for device, digest, generation, number in rows}
    lost = {key: where for key, where in said.items() if kept.get(key) != where}
    assert not lost, f"said to be admitted, and lost: {[(key[0], where) for key, where in lost.items()]}"


def _check_announced(manifest: Manifest, models: dict[tuple[int, int], bytes]) -> None:
    """The model that was announced is that of a closed round."""
    if manifest.model is not None:
        announced = manifest.model.digest
        assert announced in models.values(), f"the model of round {manifest.round} was announced, and lost"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.power.cuts", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fedge-power-", dir="/var/tmp") as folder:
        print(json.dumps(asdict(run(Path(folder), options.seed, options.cuts))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
