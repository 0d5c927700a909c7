"""Masked rounds in a device's life: who can take part, and that nothing of such a round leaves unmasked."""

from dataclasses import replace
from typing import Any

from agent.core import effects as do
from agent.core.device import Fetching, Idle
from agent.core.lifecycle import step
from fedge.wire.capabilities import MASKED
from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.protection import Masks, Protection
from fedge.wire.reasons import Reason
from tests.agent.lifecycle.stories import CONNECTED, announced, blob, manifest, story

MASKS = Masks(server="lying", threshold=3, cohort=3, value_bits=8, clip=0.5, max_weight=1)


def masked(round_: int = 1, **fields: Any) -> Manifest:
    return manifest(round_, kind="masked", protection=Protection(masked=MASKS, devices=3), **fields)


def test_a_masked_round_is_taken_up() -> None:
    state, _ = step(CONNECTED, announced(masked()))
    assert isinstance(state.work, Fetching)
    assert state.masked_in == RoundId(1, 1)


def test_a_device_without_a_certificate_declines_and_says_what_it_needs() -> None:
    lacks = frozenset({"phase:masked", MASKED})
    state = replace(CONNECTED, can=CONNECTED.can - lacks, uncertified=lacks)
    state, effects = step(state, announced(masked()))
    assert state.work == Idle()
    assert state.declined is not None
    assert state.declined.reason is Reason.UNSUPPORTED
    assert "needs a certificate" in state.declined.detail
    assert any(isinstance(each, do.PublishStatus) for each in effects)


def test_no_update_of_a_round_that_was_masked_is_made_without_masks() -> None:
    """Not in the same life, not with another model, and not after a restart, which knows the mark."""
    open_ = manifest(1, attempt=1, model=blob("another model"))
    state, _ = story(CONNECTED, announced(masked()), announced(open_))
    assert state.work == Idle()
    assert state.declined is not None
    assert "was masked before" in state.declined.detail
    state, _ = step(replace(CONNECTED, masked_in=RoundId(1, 1)), announced(open_))
    assert state.declined is not None
    state, _ = step(replace(CONNECTED, masked_in=RoundId(1, 1)), announced(manifest(2)))
    assert state.declined is None, "the next round is another one"
