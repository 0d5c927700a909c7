"""Whatever older state a device comes back with, it sends at most one message of a phase and attempt.

So no mask is used for two updates, and of another device no two secrets are revealed (fault 79).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.masked_cohort import Cohort, paper_identities, terms_of
from fedge.masking import statements
from fedge.masking.device import resumed, step
from fedge.masking.device_state import (
    Announced,
    Device,
    Event,
    Mark,
    RaiseMark,
    Received,
    SaveState,
    Send,
    SendAgain,
    Stage,
    UpdateReady,
)
from fedge.masking.keys import Directory
from fedge.masking.messages import Agreement, Delivery, Roster, Survivors, Terms
from fedge.wire.messages.message import pack

DEVICES, NAME = 5, "d0001"
PLACE = 1
IDENTITY = paper_identities(NAME)


def signed(directory: Directory, terms: Terms, sharers: Sequence[int], alive: Sequence[int]) -> Agreement:
    """A liar that can sign for everybody else."""
    bits, here = statements.bitmap(sharers, DEVICES), statements.bitmap(alive, DEVICES)
    said = statements.survivors(directory.digest, bits, here)
    each = [paper_identities(terms.cohort[at]).sign(said) for at in sorted(alive)]
    return Agreement(terms=statements.digest(terms), signers=here, signatures=b"".join(each))


@cache
def events(attempt: int) -> tuple[Event, ...]:
    """What may reach the device in an attempt: of each kind two, which contradict each other."""
    terms = terms_of(DEVICES, attempt=attempt, round=1)
    cohort = Cohort(terms, seed=attempt)
    heard: list[Event] = []

    def listen(name: str, event: Event) -> None:
        if name == NAME and isinstance(event, Received):
            heard.append(event)

    tell = cohort.tell
    cohort.tell = lambda name, event: (listen(name, event), tell(name, event))[1]  # type: ignore[method-assign]  # to listen
    cohort.run()
    directory, found = cohort.server.roster, list[Event](heard)
    assert directory is not None
    everyone = range(DEVICES)
    for event in heard:
        assert isinstance(event, Received)
        match event.message:
            case Delivery() as message:
                fewer = statements.bitmap([0, 1, 2, 3], DEVICES)
                less = message.sealed[: -len(message.sealed) // 4]
                found.append(Received(message.model_copy(update={"sharers": fewer, "sealed": less})))
            case Survivors() as message:
                alive, dead = (statements.bitmap(each, DEVICES) for each in ([0, 1, 2, 3], [4]))
                found.append(Received(message.model_copy(update={"alive": alive, "dead": dead})))
            case Roster():
                pass
    found += [Received(signed(directory, terms, everyone, alive)) for alive in (everyone, range(4))]
    updates = [np.full(terms.size, level) for level in (3, 5)]
    announced = [Announced(terms, cohort.entropy[NAME]), Announced(terms, sha256(b"others").digest())]
    other = terms.model_copy(update={"base": sha256(b"another model").digest()})
    return (
        *announced,
        Announced(other, cohort.entropy[NAME]),
        *map(UpdateReady, updates),
        *found,
        SendAgain(),
    )


class Shell:
    """Performs effects in their order, and can be stopped between any two."""

    def __init__(self) -> None:
        self.states: list[Device | None] = [None]
        self.mark = Mark()
        self.state = Device(NAME)
        self.sent: dict[tuple[bytes, str], set[bytes]] = {}

    def perform(self, effects: Sequence[object], stop: int) -> None:
        for effect in effects[:stop]:
            match effect:
                case SaveState(state):
                    self.states.append(state)
                case RaiseMark(mark):
                    assert mark >= self.mark, "it only grows"
                    self.mark = mark
                case Send(message):
                    assert message.terms is not None
                    self.sent.setdefault((message.terms, message.TYPE), set()).add(pack(message))

    def take(self, event: Event, stop: int) -> None:
        self.state, effects = step(self.state, event, IDENTITY)
        self.perform(effects, stop)
        if stop < len(effects):
            self.restore(-1)

    def restore(self, which: int) -> None:
        """Come back with any state that was ever saved, or with none."""
        self.state, effects = resumed(self.states[which % len(self.states)], self.mark, name=NAME)
        self.perform(effects, len(effects))


def moves() -> Iterator[st.SearchStrategy[tuple[str, int, int]]]:
    yield st.tuples(
        st.just("take"), st.integers(0, 2 * len(events(0)) - 1), st.sampled_from((9, 9, 9, 0, 1, 2, 3))
    )
    yield st.tuples(st.just("restore"), st.integers(0, 40), st.just(0))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_order_of_messages_and_restores_of_any_older_state(data: st.DataObject) -> None:
    shell, both = Shell(), (*events(0), *events(1))
    for kind, which, stop in data.draw(st.lists(st.one_of(*moves()), max_size=40)):
        if kind == "restore":
            shell.restore(which)
        else:
            shell.take(both[which], stop)
    assert all(len(found) == 1 for found in shell.sent.values())


def in_order(attempt: int) -> list[Event]:
    """The events of an attempt that goes well."""
    every = events(attempt)
    kinds = (Roster, Delivery, Survivors, Agreement)
    of = {
        kind: next(e for e in every if isinstance(e, Received) and isinstance(e.message, kind))
        for kind in kinds
    }
    return [every[0], of[Roster], of[Delivery], every[3], of[Survivors], of[Agreement]]


def test_each_older_state_is_refused_at_each_point_of_an_attempt() -> None:
    """All pairs of a state and a later point, each then with all events in both orders."""
    for until in range(1, len(in_order(0)) + 1):
        before = Shell()
        for event in in_order(0)[:until]:
            before.take(event, 9)
        for which in range(len(before.states)):
            shell = Shell()
            shell.states, shell.mark = list(before.states), before.mark
            shell.sent = {key: set(found) for key, found in before.sent.items()}
            shell.restore(which)
            for event in (*reversed(events(0)), *events(0), *events(0)):
                shell.take(event, 9)
            assert all(len(found) == 1 for found in shell.sent.values()), (until, which)


def test_state_and_mark_are_durable_before_the_message_that_they_allow() -> None:
    """Whatever comes after a message can be missing after a crash, and an older state would answer again."""
    state, sent = Device(NAME), 0
    for event in in_order(0):
        state, effects = step(state, event, IDENTITY)
        kinds = [type(effect) for effect in effects]
        assert kinds[0] is SaveState
        if Send in kinds:
            sent += 1
            assert kinds == [SaveState, RaiseMark, Send]
            assert [effect.mark for effect in effects if isinstance(effect, RaiseMark)] == [state.mark]
    assert sent == 5


def test_a_crash_between_the_state_and_its_mark_is_made_up_for() -> None:
    """The masked update's state is on disk and its mark is not: an older state must not mask again."""
    shell = Shell()
    for event in in_order(0)[:3]:
        shell.take(event, 9)
    shell.take(in_order(0)[3], 1)
    assert shell.mark.stage == Stage.MASKED
    assert (statements.digest(terms_of(DEVICES)), "masking_input") in shell.sent
    shell.restore(3)
    assert shell.state.attempt is None


def test_without_its_state_a_device_refuses_the_attempt_and_takes_the_next() -> None:
    shell = Shell()
    shell.take(in_order(0)[0], 9)
    shell.restore(0)
    shell.take(in_order(0)[0], 9)
    assert shell.state.attempt is None
    shell.take(events(1)[0], 9)
    assert shell.state.attempt is not None
    assert shell.state == replace(shell.state, mark=Mark(1, 1, 1, Stage.ADVERTISED))
