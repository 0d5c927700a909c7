"""A device declines a round that promises less than its owner requires, whatever the server says."""

from dataclasses import replace
from fractions import Fraction
from math import sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import effects as do
from agent.core.device import Fetching, Idle, Reporting, Saved, Working
from agent.core.lifecycle import status, step
from agent.core.protection import least_delta, unprotected
from agent.settings.trust import TrustSettings
from fedge.algorithms.plan import Plan
from fedge.masking.noise import NoisyLevels
from fedge.privacy.accountant import Training, guarantee
from fedge.privacy.mechanism import Grid
from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.protection import Charges, Masks, NoiseShares, Privacy, Protection
from fedge.wire.reasons import Reason
from tests.agent.lifecycle.stories import (
    CONNECTED,
    HOLDS,
    UPDATE,
    announced,
    done,
    manifest,
    story,
)
from tests.wording import assert_tells

PRIVACY = Privacy(
    mechanism="central",
    epsilon=8.0,
    delta=1e-5,
    unit="device",
    adjacency="add-remove",
    clip=1.0,
    noise_multiplier=6.5,
    cohort=100,
    rounds=100,
)
"""σ = 6 for 100 rounds costs ε = 8.00 at δ = 1e-5 exactly, so σ = 6.5 costs less."""
MASKS = Masks(server="lying", threshold=67, cohort=100, value_bits=8)
TRUST = TrustSettings(require=("private", "masked"), min_cohort=50, max_epsilon=8.0)
OFFER = Protection(privacy=PRIVACY, masked=MASKS, devices=67)
PRIVATE = TrustSettings(require=("private",))


def offering(protection: Protection | None, round_: int = 1, **fields: Any) -> Manifest:
    return manifest(round_, protection=protection, **fields)


def with_privacy(**fields: Any) -> Protection:
    return OFFER.model_copy(update={"privacy": PRIVACY.model_copy(update=fields)})


def with_masks(**fields: Any) -> Protection:
    return OFFER.model_copy(update={"masked": MASKS.model_copy(update=fields)})


LEVELS = NoisyLevels(Grid(1.0, 10, 10), Fraction(13, 2), 100, 10, 100, 67)
"""57 shares that the server cannot know; the same noise as `PRIVACY`."""
DISTRIBUTED = Protection(
    privacy=PRIVACY.model_copy(
        update={
            "mechanism": "distributed",
            "shares": NoiseShares(devices=57, size=10, grid_bits=10),
        }
    ),
    masked=MASKS.model_copy(update={"value_bits": LEVELS.value_bits, "clip": LEVELS.clip}),
    devices=67,
)


def offering_shares(shares: NoiseShares | None) -> Protection:
    assert DISTRIBUTED.privacy is not None
    privacy = DISTRIBUTED.privacy.model_copy(update={"shares": shares})
    return DISTRIBUTED.model_copy(update={"privacy": privacy})


def shared(**fields: int) -> Protection:
    return offering_shares(NoiseShares(**{"devices": 57, "size": 10, "grid_bits": 10, **fields}))


def told_shares(devices: int) -> Protection:
    """Noise of which so many shares are unknown to the server, with levels that fit it."""
    levels = NoisyLevels(Grid(1.0, 10, 10), Fraction(13, 2), 100, 67 - devices, 100, 67)
    offered = shared(devices=devices)
    assert offered.masked is not None
    masks = offered.masked.model_copy(update={"value_bits": levels.value_bits, "clip": levels.clip})
    return offered.model_copy(update={"masked": masks})


def noisy_masks(**fields: Any) -> Protection:
    assert DISTRIBUTED.masked is not None
    return DISTRIBUTED.model_copy(update={"masked": DISTRIBUTED.masked.model_copy(update=fields)})


def test_enough_is_enough() -> None:
    owner = TrustSettings(require=("private", "masked"), adversary="server", max_epsilon=8.0)
    assert list(unprotected(owner, offering(DISTRIBUTED))) == []
    assert list(unprotected(TrustSettings(), offering(told_shares(67)))) == []
    assert list(unprotected(TRUST, offering(OFFER))) == []
    assert list(unprotected(TrustSettings(), offering(None))) == []


@pytest.mark.parametrize(
    ("trust", "offered", "told"),
    [
        (PRIVATE, None, ("no differential privacy",)),
        (TrustSettings(max_epsilon=1.0), Protection(masked=MASKS), ("no differential privacy",)),
        (TrustSettings(require=("masked",)), None, ("no masks",)),
        (TrustSettings(require=("masked",)), Protection(privacy=PRIVACY), ("no masks",)),
        (TrustSettings(min_cohort=2), None, ("what 1 devices sent", "min_cohort is 2")),
        (TRUST, OFFER.model_copy(update={"devices": 49}), ("49", "min_cohort is 50")),
        (TRUST, with_privacy(epsilon=8.1), ("ε = 8.1", "max_epsilon is 8")),
        (TRUST, with_privacy(delta=2e-5), ("δ = 2e-05", "max_delta is 1e-05")),
        (TRUST, with_privacy(mechanism="hope"), ("another kind", "hope")),
        (TRUST, with_privacy(unit="row"), ("another kind", "row")),
        (TRUST, with_privacy(adjacency="kind"), ("another kind",)),
        (TRUST, with_privacy(noise_multiplier=3.0), ("100 rounds", "does not give")),
        (TRUST, with_privacy(noise_multiplier=1e-300), ("does not give",)),
        (TRUST, with_privacy(rounds=10_000), ("does not give",)),
        (TRUST, with_privacy(adjacency="replace-one"), ("does not give",)),
        (TrustSettings(local_epsilon=9.0), OFFER, ("central noise", "local_epsilon")),
        (TrustSettings(local_epsilon=7.0), with_privacy(mechanism="local"), ("ε = 8", "local_epsilon is 7")),
        (TrustSettings(adversary="server"), OFFER, ("central noise", 'adversary = "server"')),
        (TrustSettings(), DISTRIBUTED.model_copy(update={"masked": None}), ("no masks",)),
        (TrustSettings(), shared(devices=68), ("68 shares", "67 of them")),
        (TrustSettings(), shared(devices=1), ("cannot be",)),
        (TrustSettings(), shared(grid_bits=9), ("levels of",)),
        (TrustSettings(), shared(grid_bits=60), ("cannot be",)),
        (TrustSettings(), offering_shares(None), ("does not say how",)),
        (TrustSettings(), noisy_masks(clip=0.5), ("levels of",)),
        (TrustSettings(), noisy_masks(max_weight=2), ("counts the same",)),
        (TrustSettings(adversary="server"), told_shares(67), ("0 devices of 100", "requires a tenth, 10")),
        (TrustSettings(adversary="server"), told_shares(58), ("9 devices of 100", "requires a tenth, 10")),
        (TrustSettings(adversary="server"), noisy_masks(server="honest-but-curious"), ("lying",)),
        (TRUST, with_masks(server="friendly"), ("does not know", "friendly")),
        (TRUST, with_masks(threshold=50), ("more than half",)),
        (TRUST, with_masks(threshold=101), ("more than half",)),
    ],
)
def test_less_is_refused_with_what_is_missing(
    trust: TrustSettings, offered: Protection | None, told: tuple[str, ...]
) -> None:
    for round_ in (0, 1):  # in a survey too, which tells means and spreads
        objections = list(unprotected(trust, offering(offered, round_)))
        assert [each.reason for each in objections] == [Reason.UNPROTECTED]
        assert_tells(objections[0].detail, *told)


@given(
    z=st.floats(0.5, 100),
    rounds=st.integers(1, 2_000),
    delta=st.sampled_from([1e-9, 1e-6, 1e-5, 1e-3]),
    adjacency=st.sampled_from(["add-remove", "replace-one"]),
)
def test_no_honest_promise_contradicts_itself(z: float, rounds: int, delta: float, adjacency: Any) -> None:
    """What the accountant finds for a training always passes the device's own bound."""
    found = guarantee(Training(z, rounds, adjacency=adjacency), delta)
    told = {"epsilon": max(found.epsilon, 1e-6), "delta": delta, "noise_multiplier": z, "rounds": rounds}
    offered = PRIVACY.model_copy(update={**told, "adjacency": adjacency})
    assert least_delta(offered) <= delta


def test_the_least_delta_is_that_of_the_exact_formula() -> None:
    """σ = 1, one release, δ = 1e-5: ε = 4.37718 (dp-accounting's `get_epsilon_gaussian`)."""
    one = PRIVACY.model_copy(update={"noise_multiplier": 1.0, "rounds": 1, "epsilon": 4.37718})
    assert least_delta(one) == pytest.approx(1e-5, rel=1e-4)
    many = one.model_copy(update={"noise_multiplier": sqrt(7.0), "rounds": 7})
    assert least_delta(many) == pytest.approx(1e-5, rel=1e-4)


# ── the story of a device ──────────────────────────────────────────────────────────────────────────

STRICT = replace(HOLDS, trust=PRIVATE)


def sent(effects: list[do.Effect]) -> list[do.Effect]:
    return [each for each in effects if isinstance(each, do.PublishUpdate | do.StartWork | do.Fetch)]


@pytest.mark.parametrize("round_", [0, 1])
def test_an_open_round_is_declined_before_anything_is_fetched(round_: int) -> None:
    state, effects = step(replace(CONNECTED, trust=PRIVATE), announced(offering(None, round_)))
    assert isinstance(state.work, Idle)
    assert [type(each) for each in effects] == [do.SaveSeen, do.Log, do.PublishStatus]
    assert state.declined is not None
    assert state.declined.reason is Reason.UNPROTECTED
    assert isinstance(step(CONNECTED, announced(offering(None, round_)))[0].work, Fetching)


def test_what_is_promised_must_be_something_that_the_device_does() -> None:
    """A manifest that promises masks, and a device that cannot mask, must not meet in an open update."""
    state, effects = step(HOLDS, announced(offering(Protection(masked=MASKS, devices=67))))
    if "protection:masked" not in HOLDS.can:
        assert sent(effects) == []
        assert state.declined is not None
        assert state.declined.reason is Reason.UNSUPPORTED
    for mechanism in ("local", "unknown"):
        state, effects = step(HOLDS, announced(offering(with_privacy(mechanism=mechanism))))
        assert sent(effects) == []
        assert state.declined is not None
        assert state.declined.reason is Reason.UNSUPPORTED


def test_a_private_round_is_taken_up() -> None:
    state, _ = step(STRICT, announced(offering(Protection(privacy=PRIVACY))))
    assert isinstance(state.work, Working)


@pytest.mark.parametrize("fields", [{"attempt": 1}, {"attempt": 0}])
def test_work_and_updates_for_a_promise_end_with_the_promise(fields: dict[str, Any]) -> None:
    """The same round without its promise, as a new attempt or within the attempt: nothing leaves."""
    promised = announced(offering(Protection(privacy=PRIVACY)))
    broken = announced(offering(None, **fields))
    at_work = story(STRICT, promised)[0]
    state, effects = step(at_work, broken)
    assert do.CancelWork(RoundId(1, 1)) in effects
    reporting = story(STRICT, promised, done())[0]
    assert isinstance(reporting.work, Reporting)
    for before in (at_work, reporting):
        state, effects = step(before, broken)
        assert isinstance(state.work, Idle)
        assert sent(effects) == []
        assert state.declined is not None
        assert state.declined.reason is Reason.UNPROTECTED


def test_an_update_from_before_needs_the_promise_too() -> None:
    saved = Saved(RoundId(1, 1), UPDATE)
    _, effects = step(replace(STRICT, saved=saved), announced(offering(None)))
    assert sent(effects) == []
    _, effects = step(replace(STRICT, saved=saved), announced(offering(Protection(privacy=PRIVACY))))
    assert sent(effects) == [do.PublishUpdate(UPDATE, None)]


def test_buffered_work_needs_the_newest_rounds_promise() -> None:
    older = announced(offering(Protection(privacy=PRIVACY), max_staleness=3))
    reporting = story(replace(STRICT, can=STRICT.can), older, done())[0]
    state, effects = step(reporting, announced(offering(None, 2, max_staleness=3)))
    assert sent(effects) == []
    assert isinstance(state.work, Idle)


def test_a_growing_witness_is_no_other_promise() -> None:
    first = announced(offering(Protection(privacy=PRIVACY)))
    later = PRIVACY.model_copy(update={"witness": Charges(number=1, digest="0" * 64)})
    at_work = story(STRICT, first)[0]
    state, effects = step(at_work, announced(offering(Protection(privacy=later))))
    assert isinstance(state.work, Working)
    assert effects == []


def test_a_status_tells_no_number_of_samples_where_privacy_is_promised_or_required() -> None:
    told = replace(HOLDS, samples=40)
    assert status(told).samples == 40
    assert status(replace(told, trust=PRIVATE)).samples is None
    assert status(replace(told, manifest=offering(Protection(privacy=PRIVACY)))).samples is None
    assert status(replace(told, manifest=offering(Protection(masked=MASKS)))).samples == 40


def test_the_other_checks_still_hold() -> None:
    """A promise does not make a plan acceptable that the device does not know."""
    plan = Plan.model_validate({"epochs": 1, "later": 1})
    state, _ = step(STRICT, announced(offering(Protection(privacy=PRIVACY), plan=plan)))
    assert state.declined is not None
    assert state.declined.reason is Reason.UNSUPPORTED
