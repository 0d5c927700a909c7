"""A noised sum for which devices have revealed their shares is paid for, also if no model is made of it."""

from fractions import Fraction

import numpy as np
import pytest

from aggregator.aggregation.job import ClosingJob, Computed
from aggregator.aggregation.outcome import job_of
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.federation import Stage
from aggregator.core.masking_rules import MaskingRules
from aggregator.core.round_end import finished
from aggregator.phases import masked
from fedge.frozen import replace
from fedge.masking.noise import NoisyLevels
from fedge.privacy.mechanism import Grid
from fedge.wire.messages.protection import Charges, Privacy, Protection
from tests.aggregator.stories import P
from tests.aggregator.test_exchange import PHASE_S, Round

NOISE = NoisyLevels(Grid(1.0, P, 8), Fraction(4), 4, 0, 10, 3)


def closed(story: Round, monkeypatch: pytest.MonkeyPatch) -> Computed:
    job: ClosingJob = job_of(story.state)
    monkeypatch.setattr(masked, "weights_of", lambda *_: np.zeros(P, np.float32))
    found = masked.Masked().close(None, job, lambda: None)  # type: ignore[arg-type] # the model is given above
    assert isinstance(found, Computed)
    return found


def revealing(noise: NoisyLevels | None) -> tuple[Round, list[do.Effect]]:
    """A round whose devices are asked to reveal their shares."""
    story = Round()
    rules = MaskingRules("pumps", 0.5, phase_s=PHASE_S)
    if noise is not None:
        rules = replace(rules, clip=noise.clip, value_bits=noise.value_bits, noise=noise)
    story.state = replace(story.state, masking=rules)
    effects = story.begin()
    for _ in range(4):
        effects = story.phase(effects)
    return story, effects


@pytest.mark.parametrize("noise", [NOISE, None], ids=["noised", "plain"])
def test_a_round_whose_sum_is_not_found_is_paid_for_once_shares_are_revealed(
    noise: NoisyLevels | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four reveal. With the shares that helpers hold, a server may know the sum."""
    story, effects = revealing(noise)
    story.phase(effects, "pi-3", "pi-4")
    story.step(on.Tick(3.0 + PHASE_S))
    assert story.state.stage is Stage.CLOSING
    found = closed(story, monkeypatch)
    assert found.masked is not None
    assert found.masked.levels is None
    assert masked.VOID in found.summary
    assert (found.inputs is not None) == (noise is not None)
    assert found.inputs == closed(story, monkeypatch).inputs, "the same after a crash"


def test_a_sum_beyond_the_range_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A liar adds what no levels can have. Whoever knows the lie can subtract it."""
    story, effects = revealing(NOISE)
    story.phase(effects)
    exchange = story.state.exchange
    assert exchange is not None
    (server,) = exchange.servers
    assert server.total is not None
    most = len(story.parties) * NOISE.levels
    added = most + 1 - sum(party.levels for party in story.parties.values())
    lied = server.ring.added(server.total, added.astype(server.ring.word))
    story.state = replace(story.state, exchange=replace(exchange, servers=(replace(server, total=lied),)))
    found = closed(story, monkeypatch)
    assert found.masked is not None
    assert found.masked.levels is None
    assert found.inputs is not None


@pytest.mark.parametrize(("charged", "ends"), [(9, False), (10, True)])
def test_learning_ends_with_the_last_charge_whatever_rounds_made(charged: int, ends: bool) -> None:
    privacy = Privacy(
        mechanism="distributed", epsilon=1.0, delta=1e-5, unit="device", adjacency="add-remove", clip=1.0,
        noise_multiplier=4.0, cohort=4, rounds=10, witness=Charges(number=charged, digest="d" * 64),
    )  # fmt: skip
    state = replace(Round().state, protection=Protection(privacy=privacy, devices=3))
    assert (finished(state) is not None) == ends
    assert "10 declared releases" in (finished(state) or "10 declared releases")
