"""Which local algorithms may begin and end within a generation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation.rollback import Rollback
from aggregator.core.part_changes import unfit_change
from aggregator.core.parts import Part, Parts
from fedge.algorithms.codecs import float32
from fedge.algorithms.registry import LOCAL
from fedge.errors import ConfigError
from fedge.wire.freshness import RoundId
from tests.aggregator.parts.lab import SEED, Lab, P
from tests.aggregator.stories import update
from tests.wording import assert_tells

Tables = Mapping[str, Any]
UNIFORM = {"name": "mean", "weights": "uniform"}
SGD: Tables = {"plan": {"local": "sgd"}}
PROX: Tables = {"plan": {"local": "prox"}}
NOVA: Tables = {"plan": {"local": "nova"}, "rule": {"name": "nova"}}
DYN: Tables = {"plan": {"local": "dyn"}, "rule": UNIFORM, "server": {"name": "dyn"}}
OTHER_ALPHA: Tables = {**DYN, "plan": {"local": "dyn", "local_options": {"alpha": 0.2}}}
SCAFFOLD: Tables = {"plan": {"local": "scaffold"}, "rule": UNIFORM}
SPARSE: Tables = {"plan": {"local": "scaffold", "codec": "topk"}, "rule": UNIFORM}
REFUSED = [
    (SGD, NOVA, "nova"),
    (NOVA, SGD, "nova"),
    (DYN, SGD, "dyn"),
    (SGD, DYN, "dyn"),
    (DYN, OTHER_ALPHA, "0.1"),
    (SCAFFOLD, SPARSE, "codec"),
    (SCAFFOLD, SGD, "scaffold"),
]


def train(lab: Lab, body: bytes = float32.encode(np.full(P, 0.01, np.float32))) -> None:
    here, sends = lab.state.round, lab.state.parts.sends
    vectors = dict.fromkeys(sends, body) or None
    for device in lab.devices:
        said = update(device, here, lab.state.model.digest, body=body, vectors=vectors, steps=5)
        if lab.state.plan.codec == "topk":
            said = lab.sparse(device, *sends)
        assert lab.send(device, said).verdict == "admitted"
    lab.finish()


def refused(lab: Lab, tables: Tables, *facts: str) -> None:
    with pytest.raises(ConfigError) as error:
        lab.start(tables)
    for fact in (*facts, "[plan]", "new-generation --keep-model"):
        assert_tells(str(error.value), fact)


@pytest.mark.parametrize(("before", "now", "fact"), REFUSED)
def test_what_belongs_to_a_generation_does_not_change_in_an_announced_round(
    tmp_path: Path, before: Tables, now: Tables, fact: str
) -> None:
    """A device may have trained for it already, by the plan before."""
    lab = Lab(tmp_path, before)
    lab.survey()
    assert lab.state.round == RoundId(1, 1)
    refused(lab, now, fact)
    lab.start(before)
    train(lab)
    lab.start(now, Rollback(round=1), generation=2)
    train(lab)
    assert lab.state.round == RoundId(2, 2), "a new generation can"
    lab.ledger.close()


@pytest.mark.parametrize(("before", "now"), [(SGD, NOVA), (DYN, OTHER_ALPHA)])
def test_nor_between_two_rounds(tmp_path: Path, before: Tables, now: Tables) -> None:
    lab = Lab(tmp_path, {**before, "stopping": {"rounds": 1}})
    lab.survey()
    train(lab)
    assert lab.ledger.round_as_saved(RoundId(1, 2)) is None, "no round is open"
    refused(lab, now)
    lab.ledger.close()


@pytest.mark.parametrize(("before", "now"), [(SGD, PROX), (PROX, SGD), (NOVA, NOVA), (DYN, DYN)])
def test_others_may_change(tmp_path: Path, before: Tables, now: Tables) -> None:
    lab = Lab(tmp_path, before)
    lab.survey()
    train(lab)
    lab.start(now)
    train(lab)
    assert lab.state.round == RoundId(1, 3)
    lab.ledger.close()


@pytest.mark.parametrize("now", [NOVA, DYN, SCAFFOLD])
def test_during_the_survey_each_may_be_chosen(tmp_path: Path, now: Tables) -> None:
    lab = Lab(tmp_path, SGD)
    lab.start(now)
    lab.survey()
    train(lab)
    assert lab.state.round == RoundId(1, 2)
    lab.ledger.close()


def test_an_option_that_the_program_has_since_is_no_change() -> None:
    now = Parts(local=Part.of(LOCAL, "dyn"))
    assert now.local != Part("dyn")
    assert unfit_change(Parts(local=Part("dyn")), now) is None


def test_a_part_that_is_no_longer_there_is_a_change_like_others() -> None:
    assert unfit_change(Parts(local=Part("gone")), Parts()) is None
    assert unfit_change(Parts(local=Part("gone")), Parts(local=Part.of(LOCAL, "nova"))) is not None


def test_the_seed_does_not_change_while_a_codec_may_need_it(tmp_path: Path) -> None:
    """A device may have encoded an update with it that the aggregator could not read with another."""
    halves = {"plan": {"codec": "toy-halves"}}
    other = {"federation": {"name": "lab", "seed": SEED + 1}}
    lab = Lab(tmp_path, halves)
    lab.survey()
    with pytest.raises(ConfigError) as error:
        lab.start({**halves, **other})
    for fact in (f"[federation] seed = {SEED}", str(SEED + 1), "toy-halves", "new-generation --keep-model"):
        assert_tells(str(error.value), fact)
    lab.start({**SGD, **other})
    train(lab)
    assert lab.state.round == RoundId(1, 2), "any seed reads float32"
    lab.ledger.close()


@pytest.mark.parametrize("seed", [-1, "7", 1.5, True])
def test_a_seed_that_no_round_has_is_found(seed: Any) -> None:
    text = json.dumps({**json.loads(Parts().text()), "seed": seed})
    with pytest.raises(ValueError, match="seed"):
        Parts.read(text)
    assert Parts.read(Parts(seed=7).text()) == Parts(seed=7)
