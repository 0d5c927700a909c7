"""A part that is changed within a generation, where devices and server remember halves of the same thing."""

from pathlib import Path
from typing import Any

import pytest

from aggregator.aggregation.rollback import Rollback
from fedge.errors import ConfigError
from fedge.wire.freshness import RoundId
from tests.aggregator.parts.lab import Lab
from tests.wording import assert_tells

UNIFORM = {"name": "mean", "weights": "uniform"}
SCAFFOLD = {"rule": UNIFORM, "plan": {"local": "scaffold", "codec": "topk"}}
DYN = {"rule": UNIFORM, "server": {"name": "dyn"}, "plan": {"local": "dyn", "codec": "topk"}}


def with_plan(tables: dict[str, Any], **plan: Any) -> dict[str, Any]:
    return {**tables, "plan": {**tables["plan"], **plan}}


def trained(folder: Path, tables: dict[str, Any]) -> Lab:
    lab = Lab(folder, tables)
    lab.survey()
    for device in lab.devices:
        more = ("control",) if tables["plan"]["local"] == "scaffold" else ()
        assert lab.send(device, lab.sparse(device, *more)).verdict == "admitted"
    lab.finish()
    return lab


@pytest.mark.parametrize(
    ("tables", "plan", "key"),
    [
        (SCAFFOLD, {"codec": "float32"}, "codec = "),
        (DYN, {"codec": "float32"}, "codec = "),
        (DYN, {"local_options": {"alpha": 0.5}}, "local = "),
    ],
)
def test_a_change_with_which_only_the_devices_begin_anew_is_refused(
    tmp_path: Path, tables: dict[str, Any], plan: dict[str, Any], key: str
) -> None:
    lab = trained(tmp_path, tables)
    with pytest.raises(ConfigError) as caught:
        lab.start(with_plan(tables, **plan))
    assert_tells(str(caught.value), key, tables["plan"]["local"], "new-generation --keep-model")
    lab.start(tables)
    lab.start(with_plan(tables, **plan), Rollback(round=1), generation=2)
    assert lab.state.round.generation == 2
    lab.ledger.close()


def test_a_default_that_is_told_is_no_change(tmp_path: Path) -> None:
    lab = trained(tmp_path, DYN)
    lab.start(with_plan(DYN, local_options={"alpha": 0.1}))
    assert lab.state.round == RoundId(1, 2)
    lab.ledger.close()
