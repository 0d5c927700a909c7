"""Several shared models with a robust rule: a model of fewer devices than the rule needs stays as it is."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation.replay import replay
from aggregator.ledger.views import read_verdicts
from fedge.wire.freshness import RoundId
from tests.aggregator.parts.lab import SEED
from tests.aggregator.test_clusters import Clusters, step
from tests.wording import assert_tells

NAMES = tuple(f"pi-{number}" for number in range(9))
TABLES: Mapping[str, Any] = {
    "personal": {"name": "clusters", "models": 2},
    "rule": {"name": "trimmed-mean", "f": 2},
}
"""It needs 5 updates."""


def lab(folder: Path, small: int) -> Clusters:
    """A round of training to close, in which so many of nine devices trained model 1, one of them a liar."""
    made = Clusters(folder / "lab", TABLES, NAMES)
    made.survey()
    models = made.models(0)
    for number, device in enumerate(NAMES):
        cluster = int(number < small)
        lie = np.float32(1e6) if number == 0 else np.float32(1)
        assert (
            made.sends(device, models[cluster] + lie * step(1, device), cluster or None).verdict == "admitted"
        )
    return made


@pytest.mark.parametrize("small", [1, 2, 4])
def test_a_model_of_too_few_devices_stays_to_the_bit(
    tmp_path: Path, small: int, caplog: pytest.LogCaptureFixture
) -> None:
    made = lab(tmp_path, small)
    before = made.models(0)
    with caplog.at_level(logging.WARNING):
        made.finish()
    after = made.models(1)
    assert after[1].tobytes() == before[1].tobytes()
    assert after[0].tobytes() != before[0].tobytes()
    assert_tells(caplog.text, "model 1 stays as it is", f"{small} of the 5 updates", "trimmed-mean", "f = 2")
    assert made.ledger.clusters(RoundId(1, 1)) == (9 - small, small)
    _, rows = read_verdicts(made.path, None)
    counted = {row.device: row.counted for row in rows}
    assert [counted[device] for device in NAMES[:small]] == [0.0] * small
    assert max(row.counted or 0.0 for row in rows[small:]) > 0
    assert replay(made.path, 1, SEED).same
    made.ledger.close()


def test_with_as_many_as_the_rule_needs_both_move(tmp_path: Path) -> None:
    """Of ten devices five trained each model; the liar's value is cut off in each coordinate."""
    made = Clusters(tmp_path / "lab", TABLES, (*NAMES, "pi-9"))
    made.survey()
    models = made.models(0)
    for number, device in enumerate(made.devices):
        lie = np.float32(1e6) if number == 0 else np.float32(1)
        made.sends(device, models[number % 2] + lie * step(1, device), number % 2 or None)
    made.finish()
    for before, after, devices in zip(
        models, made.models(1), (made.devices[::2], made.devices[1::2]), strict=True
    ):
        steps = np.array([step(1, device) for device in devices])
        honest = steps[1:] if devices[0] == NAMES[0] else steps
        moved = after - before
        assert (honest.min(axis=0) - 1e-5 <= moved).all()
        assert (moved <= honest.max(axis=0) + 1e-5).all()
        assert np.abs(moved).max() > 0.01
    made.ledger.close()


def test_where_no_model_has_enough_the_round_makes_none(tmp_path: Path) -> None:
    tables = {**TABLES, "rule": {"name": "trimmed-mean", "f": 3}}
    made = Clusters(tmp_path / "lab", tables, NAMES)
    made.survey()
    models = made.models(0)
    for number, device in enumerate(NAMES):
        made.sends(device, models[number % 2] + step(1, device), number % 2 or None)
    made.finish()
    assert made.state.round == RoundId(1, 1), "it is open"
    assert made.ledger.clusters(RoundId(1, 1)) == ()
    made.ledger.close()
