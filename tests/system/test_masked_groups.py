"""Masked rounds with groups and a robust rule over their means, with real processes and a liar.

The liar is production's agent, which answers with a thousand times the opposite of what it has learnt. Cut
off at `clip`, it is the largest lie that masks let through.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aggregator.aggregation.replay import replay
from aggregator.ledger.views import read_verdicts
from tests.system.databases import query
from tests.system.federations import CLASSES, CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.masked_fleet import SEED, check_last_sum, promised
from tests.system.production import Production, needs_mosquitto
from tests.system.test_attackers import ROOT
from tests.system.test_learning import run_onnx
from tests.system.test_masked_deaths import dead, dies

pytestmark = [pytest.mark.system, needs_mosquitto]
DEVICES, GROUPS, ROUNDS, LIAR = 12, 4, 10, "device-11"


@pytest.fixture
def secure(greenhouse: Production, tmp_path: Path) -> Iterator[FleetOfProcesses]:
    with FleetOfProcesses(tmp_path / "fleet", greenhouse.broker, greenhouse) as fleet:
        yield fleet


def grouped(fleet: FleetOfProcesses, rounds: int, groups: int = GROUPS) -> None:
    """Twelve devices; with one group there is one sum, and the rule is the mean."""
    fleet.configure(
        federation={"seed": SEED},
        model=CLASSIFIER,
        plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05},
        rule={"name": "median", "f": 1} if groups > 1 else {"name": "mean"},
        rounds={"quorum": DEVICES, "target": DEVICES, "deadline_s": 300.0},
        stopping={"rounds": rounds},
        masking={"on": True, "clip": 0.5, "phase_s": 20.0, "groups": groups},
        export={"folder": "export", "choose": "newest"},
    )
    for number in range(DEVICES):
        fleet.device(f"device-{number}", *motions(number))


def lies(fleet: FleetOfProcesses, name: str) -> None:
    """Start an agent that lies."""
    command = [sys.executable, str(ROOT / "benchmarks" / "liar.py"), "change times -1000"]
    config = str(fleet.devices[name].config)
    fleet.start_program(name, ["env", f"PYTHONPATH={ROOT}", *command, "--config", config])


def accuracy(fleet: FleetOfProcesses) -> float:
    X, y = motions(99, n=300, leaning=1 / 3)
    answers = run_onnx(fleet.export / "model.onnx", X)
    return float((np.array(CLASSES)[answers.argmax(axis=1)] == y).mean())


def check_groups(fleet: FleetOfProcesses, number: int) -> list[set[str]]:
    """Each group's sum is that of the promised updates of its survivors. Returns the groups."""
    rows = query(
        fleet.ledger,
        "SELECT devices, levels FROM masked_groups WHERE generation = 1 AND round = ? ORDER BY place",
        number,
    )
    groups = [set(json.loads(devices)) for devices, _ in rows]
    for group, (_, levels) in zip(groups, rows, strict=True):
        assert (np.frombuffer(levels, "<i8") == sum(promised(fleet, name) for name in group)).all()
    return groups


def test_the_model_learns_beside_a_liar_whose_group_is_told(secure: FleetOfProcesses) -> None:
    grouped(secure, ROUNDS)
    secure.start_devices(*(name for name in secure.devices if name != LIAR))
    lies(secure, LIAR)
    secure.until_connected()
    secure.start_aggregator("--exit-when-done")
    assert secure.ends() == 0
    rows = [row for row in secure.rounds() if row.kind == "masked"]
    assert [row.devices for row in rows] == [DEVICES] * ROUNDS
    check_last_sum(secure, set(secure.devices))
    groups = check_groups(secure, ROUNDS)
    assert sorted(map(len, groups)) == [3] * GROUPS
    assert set.union(*groups) == set(secure.devices)
    drawn = query(secure.ledger, "SELECT devices FROM masked_groups ORDER BY round, place")
    assert len({devices for (devices,) in drawn}) > GROUPS, "each round has other groups"
    assert accuracy(secure) > 0.9, "measured: .943"
    for number in range(1, ROUNDS + 1):
        assert replay(secure.ledger, number, seed=SEED).same
        _, verdicts = read_verdicts(secure.ledger, number)
        told = {row.device: row for row in verdicts}
        (spoilt,) = [
            set(json.loads(devices))
            for (devices,) in query(
                secure.ledger, "SELECT devices FROM masked_groups WHERE round = ?", number
            )
            if LIAR in devices
        ]
        far = told[LIAR].far
        assert far is not None
        assert all(told[name].far == far for name in spoilt), "a verdict is on the group"
        assert all((told[name].far or 0) < far for name in told if name not in spoilt)


@pytest.mark.slow
def test_without_groups_the_same_liar_harms_the_model(secure: FleetOfProcesses) -> None:
    grouped(secure, ROUNDS, groups=1)
    secure.start_devices(*(name for name in secure.devices if name != LIAR))
    lies(secure, LIAR)
    secure.until_connected()
    secure.start_aggregator("--exit-when-done")
    assert secure.ends() == 0
    check_last_sum(secure, set(secure.devices))
    assert accuracy(secure) < 0.8, "measured: .633"


@pytest.mark.slow
def test_other_groups_in_the_middle_of_an_attempt_are_refused_until_it_has_ended(
    secure: FleetOfProcesses,
) -> None:
    grouped(secure, 1)
    secure.prefixes["device-0"] = ("env", "FEDGE_FAILPOINT=Send.before:3")
    secure.start_devices()
    secure.prefixes.clear()
    secure.until_connected()
    before = secure.start_aggregator("--exit-when-done")
    lost = secure.programs.pop("device-0")
    secure.until(lambda: lost.exit_code is not None, "device-0 dies before its masked update")
    secure.until(
        lambda: len(query(secure.ledger, "SELECT 1 FROM masking WHERE device != ''")) == 3 * DEVICES - 1,
        "all others have sent theirs",
    )
    assert before.exit_code is None
    assert secure.terminate("aggregator") == 0
    kept = (secure.folder / "federation.toml").read_text()
    (secure.folder / "federation.toml").write_text(kept.replace("groups = 4", "groups = 3"))
    secure.start_aggregator("--exit-when-done")
    assert secure.ends() == 78
    assert "change it back until the round is closed" in secure.log()
    (secure.folder / "federation.toml").write_text(kept)
    secure.start_devices("device-0")
    secure.start_aggregator("--exit-when-done")
    assert secure.ends() == 0
    check_last_sum(secure, set(secure.devices))
    assert len(check_groups(secure, 1)) == GROUPS


@pytest.mark.chaos
@pytest.mark.parametrize("point", ["SendMasking.before:20", "EndPhase.before:3", "Average.before:2"])
def test_a_device_and_the_aggregator_die_in_the_middle(secure: FleetOfProcesses, point: str) -> None:
    """The device dies before its masked update is sent, and comes back. All groups have the same sums."""
    grouped(secure, 1)
    secure.start_devices(*(name for name in secure.devices if name not in (LIAR, "device-0")))
    lies(secure, LIAR)
    dies(secure, "device-0", "Send.before:3")
    secure.until_connected(*(name for name in secure.devices if name != LIAR))
    dies(secure, "aggregator", point)
    dead_in_any_order(secure, point)
    assert secure.ends() == 0
    check_last_sum(secure, set(secure.devices))
    assert set.union(*check_groups(secure, 1)) == set(secure.devices)
    (row,) = [row for row in secure.rounds() if row.kind == "masked"]
    assert row.attempt == 0, "the same attempt went on"


def dead_in_any_order(fleet: FleetOfProcesses, point: str) -> None:
    """Both die; which one is first depends on the point."""
    late = not point.startswith("SendMasking")
    for name in ("device-0", "aggregator") if late else ("aggregator", "device-0"):
        dead(fleet, name)
