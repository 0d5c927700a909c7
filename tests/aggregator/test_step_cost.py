"""What happens to one device costs the same in a small fleet and in a large one.

No seconds are measured, which other programs would disturb: a copy of a map of all devices is seen in the
memory that a step takes, a loop over them in the maps' own iterators, which no such step may use.
"""

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import rounds, takeover
from aggregator.core.claims import Known
from aggregator.core.federation import Federation
from aggregator.core.per_device import Devices, PerDevice
from aggregator.core.quorum import updates_needed
from aggregator.core.takeover import Takeover
from fedge.wire.freshness import RoundId
from fedge.wire.messages.status import Decline
from fedge.wire.reasons import Reason
from tests.aggregator.stories import OPEN, Story, decline, federation, frames, of, rules, status, update

SMALL, LARGE = 60, 1_200
MORE = 2
"""So many times the memory a step may take in a fleet of twenty times as many: a trie is a little deeper."""
LEAST_BYTES = 8_192
"""Smaller than that it is noise; a copy of a map of `LARGE` devices takes five times as much."""

FAILS = Decline(generation=1, round=1, attempt=0, reason=Reason.TRAINING_DIVERGED)


def story_of(size: int) -> Story:
    """So many devices are online, and all but five have answered; three of these have gone, or declined."""
    devices = [f"pi-{number}" for number in range(size)]
    everybody = rules(target=None, quorum=2 * size)
    story = Story(federation(rules=everybody, young=False))
    story.announce(*devices)
    for device in devices[5:]:
        story.answers(device)
    story.sees(devices[1], status(online=False))
    story.sees(devices[2], status(declined=FAILS))
    story.sees(devices[3], status(declined=decline()))
    story.sees(devices[4], status(seen=RoundId(1, 3)))
    return story


@cache
def beginning(size: int) -> tuple[Federation, float]:
    """The state of that story, which no step changes, and its time: made once for all happenings."""
    story = story_of(size)
    return story.state, story.now_s


HAPPENINGS: dict[str, Callable[[Story], object]] = {
    "an update": lambda story: story.answers("pi-0"),
    "an update in pieces": lambda story: story.send("pi-0", update("pi-0"), 3),
    "an update that is refused": lambda story: story.answers("pi-0", samples=0),
    "half an update": lambda story: story.frame("pi-0", frames(update("pi-0"), 2)[0]),
    "an update once more": lambda story: story.answers("pi-9"),
    "a device goes": lambda story: story.sees("pi-0", status(online=False)),
    "a device comes back": lambda story: story.sees("pi-1"),
    "a new device": lambda story: story.sees("new"),
    "a device declines": lambda story: story.sees("pi-0", status(declined=decline())),
    "a device fails": lambda story: story.sees("pi-0", status(declined=FAILS)),
    "a device no longer declines": lambda story: story.sees("pi-2"),
    "a device knows more": lambda story: story.sees("pi-4", status(seen=RoundId(1, 4))),
    "a device claims what cannot be": lambda story: story.sees("pi-0", status(seen=RoundId(9, 9))),
    "a device takes that back": lambda story: story.sees("pi-4"),
    "garbage": lambda story: story.tell(on.GarbageArrived("pi-0", b"g" * 32, Reason.MALFORMED, "")),
    "time passes": lambda story: story.later(10.0),
    "the connection is lost": lambda story: story.tell(on.LinkDown(story.now_s, "")),
    "the connection is back": lambda story: story.link_up(),
}


def memory_of(happening: Callable[[Story], object], size: int) -> int:
    """The most bytes that it takes beyond what there was."""
    happening(Story(*beginning(size)))  # what is computed once is computed
    story = Story(*beginning(size))
    tracemalloc.start()
    try:
        happening(story)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", HAPPENINGS)
def test_a_step_takes_as_much_memory_in_a_large_fleet(name: str) -> None:
    small, large = (memory_of(HAPPENINGS[name], size) for size in (SMALL, LARGE))
    assert large <= MORE * max(small, LEAST_BYTES), f"{small} and {large} bytes"


def test_what_a_copy_takes_is_seen() -> None:
    def copies(story: Story) -> None:
        story.state = replace(story.state, answers=PerDevice(dict(story.state.answers)))

    assert memory_of(copies, LARGE) > 4 * MORE * LEAST_BYTES


@pytest.fixture
def no_loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody may loop over the devices, or compare all of them."""

    def refuse(*_: object) -> None:
        raise AssertionError("a step that is about one device looks at all of them")

    story_of(SMALL)  # with everything that is imported late
    for kind in (PerDevice, Devices):
        for name in ("__iter__", "__eq__"):
            monkeypatch.setattr(kind, name, refuse)
    yield
    monkeypatch.undo()


@pytest.mark.parametrize("name", HAPPENINGS)
def test_no_step_about_one_device_loops_over_all(
    name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    story = story_of(SMALL)
    request.getfixturevalue("no_loops")
    HAPPENINGS[name](story)


def test_not_even_after_a_model_has_failed(request: pytest.FixtureRequest) -> None:
    story = story_of(SMALL)
    story.state = replace(story.state, rules=rules(target=None, quorum=50))
    (closing,) = of(do.CloseRound, story.later(61.0))
    story.tell(on.CloseFailed(story.now_s, closing.round, "no model"))
    counted = story.state.admitted
    assert updates_needed(story.state) == counted + 1, "the same updates would not make another one"
    request.getfixturevalue("no_loops")
    story.answers("pi-0")
    assert (story.state.admitted, updates_needed(story.state)) == (counted + 1, 50)


LIES = {
    "near, of a roster of twice as many": (RoundId(1, 9), frozenset(f"pi-{n}" for n in range(2 * SMALL))),
    "far, of whoever comes": (RoundId(1, 5_000), None),
    "far, of a roster": (RoundId(1, 5_000), frozenset(f"pi-{n}" for n in range(SMALL))),
}


@pytest.mark.parametrize("name", LIES)
def test_not_even_where_most_claim_to_know_more(name: str, request: pytest.FixtureRequest) -> None:
    claim, roster = LIES[name]
    story = story_of(SMALL)
    known = Devices(roster or story.state.voters)
    story.state = replace(story.state, roster=roster, voters=known, claims=None)
    for number in range(SMALL - 1):
        story.sees(f"pi-{number}", status(seen=claim))
    request.getfixturevalue("no_loops")
    story.sees(f"pi-{SMALL - 1}", status(seen=claim))
    story.sees("pi-0", status(seen=claim._replace(round=claim.round + 1)))
    assert len(story.state.devices_ahead) == SMALL


def test_whoever_looks_on_takes_in_a_status_at_the_same_cost(request: pytest.FixtureRequest) -> None:
    state = Takeover("lab", "mqtt://here", known=Known(OPEN, frozenset({"pi-0"}), young=False))
    state, _ = takeover.step(state, takeover.LinkUp(0.0))
    request.getfixturevalue("no_loops")
    for number in range(SMALL):
        said = takeover.StatusSeen(0.1, f"pi-{number}", status(seen=RoundId(1, number)))
        state, _ = takeover.step(state, said)
    assert state.watch is not None
    assert len(state.watch.devices) == SMALL


def test_the_core_is_stepped_as_in_production() -> None:
    """The stories above reach what they say: an update counts, a device is no longer waited for."""
    begin = story_of(SMALL)
    ends: dict[str, Federation] = {}
    for name, happening in HAPPENINGS.items():
        story = Story(begin.state, begin.now_s)
        happening(story)
        ends[name] = story.state
    assert begin.state.awaited == {"pi-0", "pi-4"}
    assert begin.state.failing == {"pi-2"}
    assert ends["an update"].admitted == begin.state.admitted + 1
    assert ends["an update in pieces"].answers["pi-0"].verdict == "admitted"
    assert ends["an update that is refused"].answers["pi-0"].verdict == "refused"
    assert ends["half an update"].spooled > 0
    assert ends["an update once more"] == begin.state
    assert "pi-0" not in ends["a device goes"].awaited
    assert "pi-1" in ends["a device comes back"].awaited
    assert "new" in ends["a new device"].awaited
    assert "pi-0" not in ends["a device declines"].awaited
    assert ends["a device fails"].failing == {"pi-0", "pi-2"}
    assert "pi-2" in ends["a device no longer declines"].awaited
    assert ends["a device knows more"].devices_ahead["pi-4"] == (1, 4)
    assert "pi-0" in ends["a device claims what cannot be"].incredible
    assert ends["a device takes that back"].devices_ahead == {}
    assert rounds.due_s(ends["time passes"]) > rounds.due_s(begin.state)
