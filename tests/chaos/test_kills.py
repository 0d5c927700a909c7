"""20 devices, the aggregator and the broker are killed at random: nothing is lost, nothing counts twice."""

from pathlib import Path

import pytest

from tests.chaos.kills import run
from tests.chaos.strict_broker import needs_mosquitto, strict_broker

pytestmark = [pytest.mark.system, needs_mosquitto]


def survives(folder: Path, seed: int, rounds: int) -> None:
    with strict_broker() as strict:
        verdict = run(folder / "fleet", strict, seed, rounds)
    print(verdict)
    assert verdict.holds, verdict
    assert verdict.rounds == rounds
    assert sum(verdict.kills.values()) >= rounds // 10, "too few accidents to show anything"


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_fifty_rounds_of_accidents(tmp_path: Path) -> None:
    survives(tmp_path, seed=117, rounds=50)


@pytest.mark.long
@pytest.mark.timeout(5400)
def test_a_thousand_rounds_of_accidents(tmp_path: Path) -> None:
    survives(tmp_path, seed=2, rounds=1000)
