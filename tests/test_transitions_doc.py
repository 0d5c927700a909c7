"""docs/transitions.md tells what the machines do in the simulated worlds now."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from fleet.cli import transitions
from fleet.cli.transitions import MACHINES, Record, Transition, observe, page

PAGE = Path(__file__).parents[1] / "docs" / "transitions.md"
ROW = re.compile(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
SOME = range(8)


@pytest.fixture(scope="module")
def seen() -> Mapping[str, Record]:
    return observe(SOME)


def section(title: str) -> str:
    return PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def told(title: str) -> dict[Transition, set[str]]:
    """Each transition that the page tells, with its effects."""
    found = {}
    for event, before, after, effects in ROW.findall(section(title)):
        for state in before.split(", "):
            way = Transition(state, event, state if after == "–" else after)
            found[way] = set(re.findall(r"`(\w+)`", effects))
    return found


@pytest.mark.parametrize("name", MACHINES)
def test_what_worlds_show_is_told(name: str, seen: Mapping[str, Record]) -> None:
    page_tells = told(MACHINES[name].title)
    assert len(seen[name]) >= len(MACHINES[name].states)
    for way, what in seen[name].items():
        assert way in page_tells, f"{way} is new: make docs"
        assert set(what.effects) <= page_tells[way], f"{way} has new effects: make docs"


@pytest.mark.parametrize("name", MACHINES)
def test_the_page_knows_the_states_and_events_of_the_code(name: str) -> None:
    machine = MACHINES[name]
    text = section(machine.title)
    states = {state for way in told(machine.title) for state in (way.before, way.after)}
    assert states <= set(machine.states), "a state has gone: make docs"
    assert all(state in text for state in machine.states), "a state is new: make docs"
    events = {way.event for way in told(machine.title)}
    assert events <= set(machine.events), "an event has gone: make docs"
    assert all(f"`{event}`" in text for event in machine.events), "an event is new: make docs"


def test_recording_leaves_each_step_as_it_was() -> None:
    before = [machine.module.step for machine in MACHINES.values()]
    observe(range(1))
    assert [machine.module.step for machine in MACHINES.values()] == before


def test_two_observations_write_the_same_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transitions, "SEEDS", range(2))
    assert page() == page()


@pytest.mark.slow
def test_the_page_is_what_all_its_worlds_show() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "the cores or the worlds have changed: make docs"
