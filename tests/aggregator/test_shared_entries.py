"""What an update's entries are does not change while updates of the open round are there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedge.algorithms.codecs import float32
from fedge.errors import ConfigError
from fedge.wire.freshness import RoundId
from tests.aggregator.parts.lab import Lab
from tests.aggregator.stories import update
from tests.wording import assert_tells

Tables = Mapping[str, Any]
MODEL = {"features": 2, "classes": ["a", "b"], "layers": [{"type": "dense", "units": 2}, {"type": "tanh"}]}
EACH = 6
"""The weights of each of the two layers: 2 · 2 + 2."""
LAST: Tables = {"model": MODEL, "personal": {"name": "head"}}
FIRST: Tables = {"model": MODEL, "personal": {"name": "head", "names": "0"}}
NAMED: Tables = {"model": MODEL, "personal": {"name": "head", "names": "1"}}
NONE: Tables = {"model": MODEL}
DITTO: Tables = {"model": MODEL, "personal": {"name": "ditto"}}


def lab_of(folder: Path, tables: Tables) -> Lab:
    lab = Lab(folder / "lab", tables)
    lab.survey()
    assert lab.state.round == RoundId(1, 1)
    return lab


def send(lab: Lab, device: str, size: int) -> str:
    body = float32.encode(np.full(size, 0.01, np.float32))
    said = update(device, lab.state.round, lab.state.model.digest, body=body, steps=5)
    return lab.send(device, said).verdict


@pytest.mark.parametrize(
    ("before", "now", "size"), [(LAST, NONE, EACH), (NONE, LAST, 2 * EACH), (LAST, FIRST, EACH)]
)
def test_admitted_updates_keep_their_entries(tmp_path: Path, before: Tables, now: Tables, size: int) -> None:
    lab = lab_of(tmp_path, before)
    assert send(lab, lab.devices[0], size) == "admitted"
    with pytest.raises(ConfigError) as error:
        lab.start(now)
    assert_tells(str(error.value), "[personal]", "new-generation --keep-model")
    lab.start(before)
    for device in lab.devices[1:]:
        assert send(lab, device, size) == "admitted"
    lab.finish()
    assert lab.state.round == RoundId(1, 2)
    lab.ledger.close()


def test_other_entries_of_the_same_number_are_of_another_generation(tmp_path: Path) -> None:
    """An update that was made and not sent yet would be read as changes of the other entries."""
    lab = lab_of(tmp_path, LAST)
    with pytest.raises(ConfigError) as error:
        lab.start(FIRST)
    assert_tells(str(error.value), "[personal]", "new-generation --keep-model")
    lab.ledger.close()


@pytest.mark.parametrize(("before", "now", "size"), [(LAST, NAMED, EACH), (NONE, DITTO, 2 * EACH)])
def test_the_same_entries_may_be_named_otherwise(
    tmp_path: Path, before: Tables, now: Tables, size: int
) -> None:
    lab = lab_of(tmp_path, before)
    assert send(lab, lab.devices[0], size) == "admitted"
    lab.start(now)
    for device in lab.devices[1:]:
        assert send(lab, device, size) == "admitted"
    lab.finish()
    assert lab.state.round == RoundId(1, 2)
    lab.ledger.close()


@pytest.mark.parametrize(("before", "now", "size"), [(LAST, NONE, 2 * EACH), (NONE, LAST, EACH)])
def test_without_admitted_updates_they_may_change(
    tmp_path: Path, before: Tables, now: Tables, size: int
) -> None:
    lab = lab_of(tmp_path, before)
    lab.start(now)
    for device in lab.devices:
        assert send(lab, device, size) == "admitted"
    lab.finish()
    assert lab.state.round == RoundId(1, 2)
    lab.ledger.close()
