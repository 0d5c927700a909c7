"""The budget: no sequence of charges, crashes, backups and replays releases more than is declared."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.privacy.accountant import Training
from fedge.privacy.budget import (
    Charged,
    Declared,
    History,
    Position,
    Reason,
    Refusal,
    Release,
    Witness,
    begin,
    charge,
    read,
)

ROUNDS = 4
DECLARED = Declared(4.0, 1e-5, Training(3.0, ROUNDS), clip=1.0, cohort=10)


def release(number: int, attempt: int = 1, inputs: str = "a", devices: int = 10) -> Release:
    return Release(Position(1, number, attempt), inputs, devices)


def history_of(*numbers: int) -> History:
    found = begin(DECLARED, Witness(0))
    assert isinstance(found, History)
    for number in numbers:
        charged = charge(found, DECLARED, release(number), found.witness)
        assert isinstance(charged, Charged)
        assert not charged.again
        found = charged.history
    return found


def reason(found: object) -> Reason:
    assert isinstance(found, Refusal), found
    assert found.text
    return found.reason


# A story of each


def test_each_release_is_charged_once_and_the_last_one_is_the_end() -> None:
    history = history_of(1, 2, 3, 4)
    assert len(history.charges) == ROUNDS
    assert reason(charge(history, DECLARED, release(5), history.witness)) is Reason.SPENT


def test_after_a_crash_the_same_release_costs_nothing() -> None:
    """Also the last one: the history is full, and its release was not made yet."""
    history = history_of(1, 2, 3, 4)
    for witness in (history_of(1, 2, 3).witness, history.witness):
        assert charge(history, DECLARED, release(4), witness) == Charged(history, True)


def test_the_same_round_with_other_updates_needs_a_new_attempt() -> None:
    history = history_of(1, 2)
    assert reason(charge(history, DECLARED, release(2, inputs="b"), history.witness)) is Reason.REPLAYED
    found = charge(history, DECLARED, release(2, attempt=2, inputs="b"), history.witness)
    assert isinstance(found, Charged)
    assert len(found.history.charges) == 3, "it is another release"


def test_an_earlier_round_is_a_replay() -> None:
    history = history_of(1, 2)
    assert reason(charge(history, DECLARED, release(1), history.witness)) is Reason.REPLAYED


def test_a_new_generation_goes_on_with_the_same_history() -> None:
    history = history_of(1, 2, 3, 4)
    later = Release(Position(2, 1, 1), "a", 10)
    assert reason(charge(history, DECLARED, later, history.witness)) is Reason.SPENT


def test_an_older_backup_is_refused() -> None:
    assert reason(charge(history_of(1), DECLARED, release(2), history_of(1, 2).witness)) is Reason.BEHIND


def test_a_history_that_went_on_from_an_older_backup_is_refused() -> None:
    """It has as many charges as were released, and they are others."""
    assert reason(charge(history_of(1, 3), DECLARED, release(4), history_of(1, 2).witness)) is Reason.FORKED


def test_a_lost_history_does_not_begin_anew() -> None:
    assert reason(begin(DECLARED, history_of(1).witness)) is Reason.MISSING
    assert reason(read(None)) is Reason.MISSING


def test_without_a_witness_nothing_is_released() -> None:
    assert reason(begin(DECLARED, None)) is Reason.UNWITNESSED
    assert reason(charge(history_of(1), DECLARED, release(2), None)) is Reason.UNWITNESSED


def test_a_larger_cohort_is_refused() -> None:
    history = history_of(1)
    assert reason(charge(history, DECLARED, release(2, devices=11), history.witness)) is Reason.COHORT


@pytest.mark.parametrize(
    "changed",
    [
        replace(DECLARED, epsilon=8.0),
        replace(DECLARED, clip=2.0),
        replace(DECLARED, cohort=20),
        replace(DECLARED, training=replace(DECLARED.training, rounds=5)),
        replace(DECLARED, training=replace(DECLARED.training, multiplier=2.9)),
    ],
)
def test_what_is_declared_does_not_change(changed: Declared) -> None:
    history = history_of(1)
    assert reason(charge(history, changed, release(2), history.witness)) is Reason.CHANGED


# Its text


def test_a_history_is_read_as_it_was_written() -> None:
    for history in (history_of(), history_of(1, 2, 3)):
        assert read(history.text()) == history


def without(content: dict) -> None:
    del content["charges"][0]


def exchanged(content: dict) -> None:
    content["charges"].reverse()


def edited(content: dict) -> None:
    content["charges"][1]["inputs"] = "b"


def twice(content: dict) -> None:
    content["charges"].append(content["charges"][-1])


@pytest.mark.parametrize("damage", [without, exchanged, edited, twice])
def test_a_history_that_was_edited_is_refused(damage: Callable[[dict], None]) -> None:
    content = json.loads(history_of(1, 2, 3).text())
    damage(content)
    assert reason(read(json.dumps(content))) is Reason.DAMAGED


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"declared": "a", "charges": 3}', "null"])
def test_what_is_no_history_is_refused(text: str) -> None:
    assert reason(read(text)) is Reason.DAMAGED


def test_a_history_cut_at_its_end_is_behind() -> None:
    """Its digests are right; what was released tells."""
    content = json.loads(history_of(1, 2, 3).text())
    del content["charges"][-1]
    found = read(json.dumps(content))
    assert isinstance(found, History)
    assert reason(charge(found, DECLARED, release(4), history_of(1, 2, 3).witness)) is Reason.BEHIND


# What it promises, in a small world


class Program:
    """An aggregator with a disk, its backups, and a broker that retains what was released."""

    def __init__(self) -> None:
        first = begin(DECLARED, Witness(0))
        assert isinstance(first, History)
        self.disk: str | None = first.text()
        self.backups: list[str | None] = [self.disk]
        self.retained = Witness(0)
        self.released: dict[Position, set[str]] = {}
        self.position = Position(1, 0, 1)

    def publish(self, asked: Release, history: History) -> None:
        found = read(self.disk)
        assert isinstance(found, History), "what is released was charged, durably"
        assert any((c.position, c.inputs) == (asked.position, asked.inputs) for c in found.charges)
        self.retained = max(self.retained, history.witness, key=lambda each: each.charges)
        self.released.setdefault(asked.position, set()).add(asked.inputs)

    def close(self, asked: Release, *, crash: str = "", heard: bool = True) -> None:
        """Charge, save, release; `crash` says before which step the power fails."""
        history = read(self.disk)
        if isinstance(history, Refusal):
            begun = begin(DECLARED, self.retained if heard else None)
            if isinstance(begun, Refusal):
                return
            history = begun
        found = charge(history, DECLARED, asked, self.retained if heard else None)
        if isinstance(found, Refusal) or crash == "save":
            return
        self.disk = found.history.text()
        if crash != "release":
            self.publish(asked, found.history)

    def check(self) -> None:
        assert sum(len(inputs) for inputs in self.released.values()) <= ROUNDS
        assert all(len(inputs) == 1 for inputs in self.released.values()), (
            "one seed serves one set of updates"
        )


class ReleasesFirst(Program):
    """A program with the wrong order."""

    def close(self, asked: Release, *, crash: str = "", heard: bool = True) -> None:
        history = read(self.disk)
        if isinstance(history, Refusal):
            return
        found = charge(history, DECLARED, asked, self.retained if heard else None)
        if isinstance(found, Refusal):
            return
        self.publish(asked, found.history)
        if crash != "save":
            self.disk = found.history.text()


STEPS = st.tuples(
    st.sampled_from(["round", "attempt", "generation", "same", "earlier", "backup", "restore", "lose"]),
    st.sampled_from(["", "", "save", "release"]),
    st.sampled_from(["a", "b"]),
    st.integers(0, 30),
)


def live(program: Program, steps: list[tuple[str, str, str, int]]) -> None:
    for what, crash, inputs, number in steps:
        at = program.position
        if what == "backup":
            program.backups.append(program.disk)
        elif what == "restore":
            program.disk = program.backups[number % len(program.backups)]
        elif what == "lose":
            program.disk = None
        else:
            program.position = {
                "round": Position(at.generation, at.round + 1, 1),
                "attempt": replace(at, attempt=at.attempt + 1),
                "generation": Position(at.generation + 1, 1, 1),
                "earlier": Position(1, number % 5, 1),
            }.get(what, at)
            asked = Release(program.position, inputs, 5 + number % 6)
            program.close(asked, crash=crash, heard=number != 0)
        program.check()


@given(st.lists(STEPS, max_size=40))
def test_nothing_releases_more_than_is_declared(steps: list[tuple[str, str, str, int]]) -> None:
    live(Program(), steps)


def test_a_whole_life_releases_all_that_is_declared() -> None:
    """So the world above is not one in which everything is refused."""
    program = Program()
    live(program, [("round", "", "a", 1)] * 9)
    assert len(program.released) == ROUNDS


def test_a_charge_from_a_backup_is_not_released_beside_another() -> None:
    """Round 1 is charged, and not released; an older history pays for round 2; then the first one is back."""
    program = Program()
    first = [("round", "release", "a", 1), ("backup", "", "", 1), ("restore", "", "", 0)]
    live(program, [*first, ("round", "", "a", 1), ("restore", "", "", 1), ("earlier", "", "a", 1)])
    live(program, [("generation", "", "a", 1)] * 5)
    assert list(program.released) == [Position(1, 2, 1)]


def test_a_program_that_charges_after_the_release_is_found() -> None:
    with pytest.raises(AssertionError):
        live(ReleasesFirst(), [("round", "", "a", 1)])


# What is declared is affordable


def test_a_training_beyond_its_epsilon_is_refused() -> None:
    """z = 3 over 4 rounds costs what z = 1.5 costs once: ε = 2.90."""
    DECLARED.require_affordable()
    with pytest.raises(ValueError, match=r"ε = 2 is declared, and the training costs ε = 2\.9"):
        replace(DECLARED, epsilon=2.0).require_affordable()
