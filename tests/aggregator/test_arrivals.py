"""Updates that arrive together: whatever the state and the updates are, they come to the same one by one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.core import arrivals, rounds
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.admission import admit, admit_all
from aggregator.core.arrivals import one_by_one
from aggregator.core.federation import Federation, Stage
from aggregator.core.partials import SPOOL_BYTES
from aggregator.core.patience import MISSES
from aggregator.core.updates import terms_of
from aggregator.core.usual_distance import UsualDistance
from aggregator.core.verdicts import Measured, Missed, Verdict
from fedge.algorithms.codecs import float32
from fedge.frozen import replace
from fedge.wire.capabilities import BASE, BUFFERED
from fedge.wire.frames import Partial
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.manifest import Cohort
from tests.aggregator.stories import (
    DEADLINE_S,
    OPEN,
    P,
    frames,
    having,
    kinds,
    receipts,
    rules,
    running,
    update,
)

FLEET = tuple(f"pi-{number}" for number in range(8))
NOW_S = 1_000.0


def body(value: float, **at: float) -> bytes:
    vector = np.full(P, value, np.float32)
    for place, other in at.items():
        vector[int(place[1:])] = other
    return float32.encode(vector)


def whole(device: str, **changes: Any) -> on.WholeUpdate:
    named = changes.pop("named", device)
    message = update(named, **{"body": body(0.5), **changes})
    (frame,) = frames(message)
    return on.WholeUpdate(device, frame, message)


ODDITIES: tuple[dict[str, Any], ...] = (
    {"samples": 0},
    {"samples": 1_001},
    {"base": b"o" * 32},
    {"named": "pi-99"},
    {"body": body(0.5, _3=np.nan)},
    {"body": body(0.5, _0=np.inf)},
    {"body": body(3e38)},
    {"body": body(1e6)},
    {"body": body(100.5 / P**0.5)},
    {"body": body(0.5)[:-4]},
    {"body": b""},
    {"codec": "int8"},
    {"codec": "unheard-of"},
    {"kind": "delta"},
    {"cluster": 1},
    {"cluster": 0},
    {"vectors": {"control": body(0.0)}},
    {"metrics": {"held_unseen": 1.0, "held_out": 2.0}},
    {"metrics": {"held_unseen": 2.0, "held_out": 1.0}},
    {"metrics": {"loss_before": -1.0}},
    {"metrics": {"loss_before": 1.0, "unheard_of": 1.0}},
)
"""How updates differ from an ordinary one."""
devices = st.sampled_from(FLEET)
some = st.frozensets(devices, max_size=3)
arriving = st.lists(st.tuples(devices, st.just({}) | st.just({}) | st.sampled_from(ODDITIES)), max_size=10)
CHANGES: dict[str, st.SearchStrategy[Any]] = {
    "quarantined": some,
    "roster": some.map(lambda without: frozenset(FLEET) - without),
    "missed": some.map(lambda those: {d: Missed(MISSES, Attempt(OPEN, 0)) for d in sorted(those)}),
    "waited_s": some.map(lambda those: dict.fromkeys(sorted(those), 1.0)),
    "vain_s": some.map(lambda those: dict.fromkeys(sorted(those), 1.0)),
    "left_s": some.map(lambda those: dict.fromkeys(sorted(those), 1.0)),
    "unseen": some,
    "failing": some,
    "asked": some,
    "awaited": some,
    "insufficient": some,
    "abilities": some.map(lambda those: {device: frozenset[str]() for device in sorted(those)}),
    "answers": some.map(
        lambda those: {device: Verdict(whole(device).frame.id, "admitted") for device in sorted(those)}
    ),
    "spooled": st.sampled_from([0, SPOOL_BYTES - 1_000, SPOOL_BYTES]),
    "stage": st.sampled_from(list(Stage)),
    "kind": st.sampled_from(["train", "evaluate", "survey"]),
    "since_s": st.sampled_from([None, NOW_S, NOW_S - DEADLINE_S]),
    "usual": st.just(UsualDistance(1.0)),
    "base": st.just(None),
    "max_samples": st.sampled_from([5, 1_000]),
    "cohorts": st.just((Cohort(fraction=0.5, seed=3),)),
}
states = st.lists(st.sampled_from(sorted(CHANGES)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: CHANGES[name] for name in names})
)


def collecting(target: int | None = None, **changes: Any) -> Federation:
    """A round that all devices of the fleet are asked in; it closes at this many updates."""
    state = running(*FLEET, base=np.zeros(P, np.float32)).state
    state = replace(state, rules=rules(target=target), since_s=NOW_S)
    return having(state, **changes)


def measured(effects: list[do.Effect]) -> list[Measured | None]:
    """What is no part of the equality of verdicts."""
    return [effect.answer.measured for effect in effects if isinstance(effect, do.SaveAnswer)]


@given(states, arriving, st.sampled_from([None, 1, 3, 20]))
def test_together_they_come_to_the_same_as_one_by_one(
    changes: dict[str, Any], sent: list[tuple[str, dict[str, Any]]], target: int | None
) -> None:
    state = collecting(target, **changes)
    event = on.UpdatesArrived(NOW_S, tuple(whole(device, **odd) for device, odd in sent))
    after, effects = rounds.step(state, event)
    wanted, each = one_by_one(state, event, rounds.step)
    assert effects == each
    assert measured(effects) == measured(each)
    assert after == wanted


ONE = frozenset({"pi-1"})
STATES: tuple[dict[str, Any], ...] = (
    {"kind": "evaluate"},
    {"left_s": {"pi-7": 1.0}},
    {
        "rules": replace(rules(target=None), max_staleness=3),
        "abilities": dict.fromkeys(FLEET, BASE | {BUFFERED}),
    },
    {"model_codec": "rare", "abilities": dict.fromkeys(FLEET[2:], BASE | {"model:rare"})},
    {"quarantined": ONE},
    {"spooled": SPOOL_BYTES},
    {"vain_s": {"pi-1": 1.0}},
    {"since_s": NOW_S - DEADLINE_S},
    {"failing": ONE},
    {"awaited": frozenset()},
    {"awaited": ONE},
    {"awaited": frozenset(FLEET[:3])},
    {"roster": frozenset(FLEET) - ONE},
    {"partials": {"pi-1": Partial(b"p" * 32, 2, 100, 50)}},
    {"waited_s": {"pi-1": 1.0}},
    {"waited_s": {"pi-1": 1.0}, "vain_s": {"pi-2": 1.0}},
    {"missed": {"pi-1": Missed(MISSES, Attempt(OPEN, 0))}},
    {"unseen": ONE},
    {"usual": UsualDistance(1.0)},
    {"insufficient": ONE},
)
"""In each of them one update at least is not ordinary."""
METRICS: tuple[dict[str, Any], ...] = (
    {"metrics": {"held_unseen": 1.0, "held_out": 2.0}},
    {"metrics": {"held_unseen": 0.0, "held_out": 2.0}},
)
LENGTHS: tuple[dict[str, Any], ...] = ({"body": body(100.5 / P**0.5)}, {"body": body(1e6)})
IN_TURN = tuple(
    whole(device, **odd) for device, odd in zip(FLEET, ({}, {}, *METRICS, *LENGTHS, {}, {}), strict=True)
)


TWICE = tuple(whole(device, samples=samples) for device in FLEET[:3] for samples in (10, 11, 10))


@pytest.mark.parametrize(
    "updates", [tuple(map(whole, FLEET)), IN_TURN, TWICE], ids=["ordinary", "odd", "twice"]
)
@pytest.mark.parametrize("changes", [{}, *STATES], ids=lambda changes: " ".join(changes) or "none")
def test_in_no_state_does_it_matter_that_they_came_together(
    changes: dict[str, Any], updates: tuple[on.WholeUpdate, ...]
) -> None:
    state, event = collecting(**changes), on.UpdatesArrived(NOW_S, updates)
    after, effects = rounds.step(state, event)
    wanted, each = one_by_one(state, event, rounds.step)
    assert effects == each
    assert after == wanted


@given(arriving, st.sampled_from([1.0, 0.5]), st.booleans())
def test_a_verdict_does_not_depend_on_the_updates_beside_it(
    sent: list[tuple[str, dict[str, Any]]], fraction: float, bounded: bool
) -> None:
    usual = UsualDistance(1.0) if bounded else UsualDistance()
    terms = terms_of(collecting(cohorts=(Cohort(fraction=fraction, seed=3),), usual=usual))
    messages = [(device, whole(device, **odd).message) for device, odd in sent]
    found = admit_all(terms, messages)
    alone = [admit(terms, device, message) for device, message in messages]
    assert found == alone
    assert [getattr(each, "lengths", None) for each in found] == [
        getattr(each, "lengths", None) for each in alone
    ]


def test_ordinary_updates_are_admitted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(arrivals, "one_by_one", None)
        event = on.UpdatesArrived(NOW_S, tuple(map(whole, FLEET)))
        state, effects = rounds.step(collecting(), event)
    assert receipts(effects) == [(device, "admitted", None) for device in FLEET]
    assert kinds(effects) == [do.SpoolFrame, do.SaveAnswer, do.SendReceipt] * len(FLEET) + [do.CloseRound]
    assert (state.admitted, len(state.awaited), state.stage) == (len(FLEET), 0, Stage.CLOSING)


def test_the_round_closes_with_the_update_that_reaches_the_target_and_the_next_ones_wait() -> None:
    state, effects = rounds.step(collecting(3), on.UpdatesArrived(NOW_S, tuple(map(whole, FLEET))))
    verdicts = [verdict for _, verdict, _ in receipts(effects)]
    assert verdicts == ["admitted"] * 3 + ["retry"] * (len(FLEET) - 3)
    assert kinds(effects).index(do.CloseRound) == 9
    assert (state.admitted, state.stage) == (3, Stage.CLOSING)


def test_a_bad_update_among_good_ones_is_refused_alone() -> None:
    sent = (whole("pi-0"), whole("pi-1", samples=0), whole("pi-2"), whole("pi-0", samples=7))
    state, effects = rounds.step(collecting(), on.UpdatesArrived(NOW_S, sent))
    assert [verdict for _, verdict, _ in receipts(effects)] == ["admitted", "refused", "admitted", "refused"]
    assert state.counted == {"pi-0", "pi-2"}
    assert state.round == RoundId(1, 1)
