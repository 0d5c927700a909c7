"""A masked round with groups in the aggregator's core, and what closing makes of their sums."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation import masked_mean
from aggregator.aggregation.unmasking import Unmasked, unmasked
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import exchange, grouping
from aggregator.core.federation import Promised, Stage
from aggregator.core.masking_rules import MaskingRules
from aggregator.core.parts import Part
from fedge.algorithms.registry import RULES
from fedge.frozen import replace
from fedge.masking.groups import groups_of
from fedge.masking.messages import Terms
from fedge.masking.round_messages import Call
from fedge.wire.messages.message import Message, unpack
from tests.aggregator.stories import P
from tests.aggregator.test_exchange import NAMES, PHASE_S, Party, Round, sent

DEVICES = tuple(f"pi-{number:02}" for number in range(1, 13))
GROUPS = 4
MEDIAN = Part.of(RULES, "median", {"f": 1})


class Grouped(Round):
    """Twelve devices that have promised, in four groups of three."""

    def __init__(self, rule: Part = MEDIAN) -> None:
        super().__init__()
        self.parties = {name: Party(name) for name in DEVICES}
        rng = np.random.default_rng(5)
        for party in self.parties.values():
            party.levels = rng.integers(-20, 21, P)
        self.keys = {name: party.public for name, party in self.parties.items()}
        promised = {
            name: Promised(name.encode(), key, name.encode().ljust(32)) for name, key in self.keys.items()
        }
        state = self.state
        answer = state.answers[NAMES[0]]
        self.state = replace(
            state,
            masking=MaskingRules("pumps", 0.5, phase_s=PHASE_S, groups=GROUPS),
            promised=type(state.promised)(promised),
            answers=type(state.answers)(dict.fromkeys(DEVICES, answer)),
            admitted=len(DEVICES),
            online=type(state.online)(DEVICES),
            rule=rule,
        )

    @property
    def groups(self) -> list[tuple[str, ...]]:
        assert self.state.exchange is not None
        return [each.terms.cohort for each in self.state.exchange.servers]

    def found(self) -> Unmasked:
        assert self.state.exchange is not None
        return unmasked(self.state.exchange, grouping.needed(self.state.parts.rule), lambda: None, "round: ")


def levels(story: Round, devices: Iterable[str]) -> Any:
    return sum(story.parties[name].levels for name in devices)


def test_each_group_has_masks_of_its_own_and_a_sum_of_its_own() -> None:
    story = Grouped()
    effects = story.begin()
    calls = {each.device: each.message for each in effects if isinstance(each, do.SendMasking)}
    assert calls.keys() == set(DEVICES)
    for device, call in calls.items():
        assert isinstance(call, Call)
        terms = unpack(call.terms, Terms)
        assert device in terms.cohort
        assert call.certificates == tuple(name.encode() for name in terms.cohort), "those of its group alone"
        drawn = {name: name.encode().ljust(32) for name in DEVICES}
        found = groups_of(terms.model_copy(update={"cohort": call.whole}), GROUPS, drawn)
        assert found == story.groups, "a device finds the same groups"
    for _ in range(5):
        effects = story.phase(effects)
    assert [type(each) for each in effects][-2:] == [do.EndPhase, do.CloseRound]
    ended = story.found()
    assert ended.remarks == ()
    assert [set(each.devices) for each in ended.found.groups] == [set(group) for group in story.groups]
    for each in ended.found.groups:
        assert (each.levels == levels(story, each.devices)).all()
    assert ended.found.levels is not None
    assert (ended.found.levels == levels(story, DEVICES)).all()
    assert (ended.found.weight, ended.found.devices) == (12, DEVICES)


@pytest.mark.parametrize("phase", range(5))
def test_a_group_that_fails_is_left_out_and_the_others_go_on(phase: int) -> None:
    """Two of three are lost in one group, before the answer of this phase. The others have their sums."""
    story = Grouped()
    effects = story.begin()
    for _ in range(phase):
        effects = story.phase(effects)
    lost = story.groups[2][:2]
    story.phase(effects, *lost)
    effects = story.step(on.Tick(2.0 + PHASE_S))
    for _ in range(4 - phase):
        assert not set(sent(effects)) & set(story.groups[2]), "it is asked for nothing more"
        effects = story.phase(effects)
    assert isinstance(effects[-1], do.CloseRound)
    ended = story.found()
    kept = [group for at, group in enumerate(story.groups) if at != 2]
    assert [each.devices for each in ended.found.groups] == kept
    logged = [each.text for each in story.effects if isinstance(each, do.Log)]
    logged += [line for _, line in ended.remarks]
    assert sum("a group is left out" in line for line in logged) == 1


@pytest.mark.parametrize("phase", range(5))
def test_fewer_groups_than_the_rule_needs_end_the_attempt(phase: int) -> None:
    """A median that stands one liar needs three groups. Two fail: again, or not once survivors are signed."""
    story = Grouped()
    effects = story.begin()
    for _ in range(phase):
        effects = story.phase(effects)
    lost = [name for group in story.groups[:2] for name in group[:2]]
    story.phase(effects, *lost)
    effects = story.step(on.Tick(2.0 + PHASE_S))
    kinds = [type(each) for each in effects]
    if phase < 3:
        assert do.DropExchange in kinds
        assert (story.state.attempt, story.state.stage) == (1, Stage.COLLECTING)
    elif phase == 3:
        assert kinds == [do.SaveNoSum, do.DropExchange, do.Log, do.CloseRound]
    else:
        assert kinds == [do.EndPhase, do.CloseRound]
        assert story.found().found.levels is None


def test_another_attempt_has_other_groups() -> None:
    story = Grouped()
    effects = story.begin()
    first = story.groups
    story.phase(effects, *[name for group in first for name in group[:2]])
    story.step(on.Tick(2.0 + PHASE_S))
    story.step(on.Tick(3.0 + PHASE_S))
    assert story.groups != first
    assert sorted(name for group in story.groups for name in group) == sorted(DEVICES)


def test_an_attempt_waits_for_three_devices_in_each_group() -> None:
    story = Grouped()
    story.state = replace(story.state, online=type(story.state.online)(DEVICES[:-1]))
    assert not any(isinstance(each, do.BeginExchange) for each in story.begin())


def test_a_message_of_another_group_changes_nothing() -> None:
    """The groups' terms differ, so what belongs to one is of no use in another."""
    story = Grouped()
    answers = dict(story.answers(story.begin()))
    mine, other = story.groups[0][0], story.groups[1][0]
    before = story.state
    message: Message = answers[other].model_copy(update={"device": mine})
    effects = story.take(mine, message)
    assert story.state == before
    assert [type(each) for each in effects] == [do.DropSpool, do.Log]


def test_a_restart_goes_on_with_the_same_groups() -> None:
    story = Grouped()
    effects = story.phase(story.begin())
    assert story.state.exchange is not None
    terms = exchange.terms_of(story.state, DEVICES)
    begun = exchange.begun(story.state, terms, 0.0)
    assert [each.terms for each in begun.servers] == [each.terms for each in story.state.exchange.servers]
    assert sent(effects) == list(DEVICES)


def test_promises_of_groups_need_random_bytes_of_their_own() -> None:
    state = Grouped().state
    assert "upgrade the device" in (grouping.unfit(state, None) or "")
    assert "same bytes" in (grouping.unfit(state, b"pi-03".ljust(32)) or "")
    assert grouping.unfit(state, b"pi-99".ljust(32)) is None
    assert grouping.unfit(Round().state, None) is None, "without groups they need none"


def test_a_liar_spoils_its_groups_mean_and_not_the_median() -> None:
    """The lie is as large as terms allow. The median of four means is between means of honest groups."""
    story = Grouped()
    liar = story.parties["pi-05"]
    liar.levels = np.full(P, 127)
    effects = story.begin()
    for _ in range(5):
        effects = story.phase(effects)
    found = story.found().found
    base = np.zeros(P, np.float32)
    made = masked_mean.made_of(MEDIAN, found, base)
    honest = [masked_mean.mean_of(found, each, base) for each in found.groups if "pi-05" not in each.devices]
    spoilt = next(masked_mean.mean_of(found, each, base) for each in found.groups if "pi-05" in each.devices)
    assert (made.vector <= np.max(honest, axis=0)).all()
    assert (made.vector >= np.min(honest, axis=0)).all()
    assert np.linalg.norm(spoilt) > 2 * np.linalg.norm(made.vector)
    (with_liar,) = [group for group in story.groups if "pi-05" in group]
    far = max(made.distances, key=lambda device: made.distances[device])
    assert far in with_liar
    assert {made.counted[name] for name in with_liar} == {made.counted["pi-05"]}
    assert made.counted["pi-05"] < min(made.counted[name] for name in DEVICES if name not in with_liar)
    assert masked_mean.rule_of(MEDIAN, grouped=True) == "masked-groups/1 median/1"
