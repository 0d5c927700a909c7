"""Maps and sets of devices: as dicts and sets, by name, and never changed."""

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from aggregator.core.per_device import Devices, PerDevice

names = st.text(max_size=3)
changes = st.lists(st.tuples(names, st.none() | st.integers()))
ROOT = Path(__file__).parents[2]


@given(st.dictionaries(names, st.integers()), changes)
def test_a_map_is_as_a_dict_and_what_was_stays(
    first: dict[str, int], what: list[tuple[str, int | None]]
) -> None:
    held, plain = PerDevice(first), dict(first)
    was = held
    for device, value in what:
        if value is None:
            held = held.drop(device)
            plain.pop(device, None)
        else:
            held = held.put(device, value)
            plain[device] = value
        assert held.get(device) == plain.get(device)
        assert (device in held) == (device in plain)
    assert held == plain
    assert held == PerDevice(plain)
    assert list(held.items()) == sorted(plain.items())
    assert len(held) == len(plain)
    assert was == first
    assert was.put_all(plain) == {**first, **plain}
    assert was.put_all({}) is was


@given(st.sets(names), st.lists(st.tuples(names, st.booleans())), st.sets(names))
def test_a_set_is_as_a_set_and_what_was_stays(
    first: set[str], what: list[tuple[str, bool]], other: set[str]
) -> None:
    held, plain = Devices(first), set(first)
    was = held
    for device, member in what:
        before = held
        held = held.having(device, member=member)
        assert (held is before) == ((device in before) == member), "it is the same one if nothing changes"
        (plain.add if member else plain.discard)(device)
    assert held == plain
    assert list(held) == sorted(plain)
    assert len(held) == len(plain)
    assert was == first
    for mine, theirs in ((held, other), (held, Devices(other)), (held, frozenset(other))):
        assert mine - theirs == plain - other
        assert mine | theirs == plain | other
        assert mine & theirs == plain & other
        assert (mine <= theirs) == (plain <= other)
        assert theirs - mine == other - plain


def test_a_map_without_a_device_that_it_has_not_is_the_same_one() -> None:
    held = PerDevice({"a": 1})
    assert held.drop("b") is held
    assert repr(held) == "PerDevice({'a': 1})"
    assert repr(Devices("ba")) == "Devices(['a', 'b'])"
    assert held != PerDevice({"a": 2})


STORY = """
from aggregator.core import events as on
from aggregator.aggregation.outcome import job_of
from fedge.wire.freshness import RoundId
from fedge.wire.messages.status import Decline
from fedge.wire.reasons import Reason
from tests.aggregator.stories import *
names = [f"pi-{number}" for number in range(60)]
story = Story(federation(rules=rules(target=None, quorum=20)))
story.announce(*names)
for number, device in enumerate(names):
    if number < 15:
        story.answers(device)
    elif number < 30:
        story.frame(device, frames(update(device), 3)[0])
    elif number < 50:
        no = Decline(generation=1, round=1, attempt=0, reason=[*Reason][number % 5], detail="no")
        story.sees(device, status(declined=no))
story.tell(on.Quarantined(story.now_s, frozenset(names[10:20])))
story.later(61.0)
story.tell(on.Quarantined(story.now_s, frozenset()))
for device in names[:25]:
    story.answers(device)
for device in names[40:50]:
    no = Decline(generation=1, round=1, attempt=story.state.attempt, reason=Reason.BAD_DATA, detail="no")
    story.sees(device, status(declined=no))
story.later(61.0)
story.tell(on.CloseFailed(story.now_s, story.state.round, "no model"))
story.tell(on.MeanUnusable(story.now_s, story.state.round, (names[0],), "no model"))
story.sees("new")
story.answers("new")
story.later(61.0)
print(job_of(story.state).participation.summary())
story.closed()
print(sum(isinstance(effect, do.DropSpool) for effect in story.log))
for effect in story.log:
    print(effect)
"""


def test_the_order_of_hashes_is_seen_nowhere() -> None:
    """Two processes hash names differently, and list the same effects in the same order."""
    told = [
        subprocess.run(
            [sys.executable, "-c", STORY],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]
    summary, dropped, *_ = told[0].splitlines()
    assert "bad_data" in summary, "who declined the round that is closed"
    assert int(dropped) >= 20, "the partial updates of those set aside, and of the round that is closed"
