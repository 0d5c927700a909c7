"""A liar can say each extreme of each field that a device may write, and only where it is asked to."""

import hashlib
import random
from typing import Any

import numpy as np
import pytest

from fedge.algorithms.plan import Plan
from fedge.errors import ProtocolError
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import unpack
from fedge.wire.messages.status import Status
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.topics import Topics
from fleet.simulator import adversary, members
from fleet.simulator.boasts import FURTHER, SAMPLES, STEPS
from fleet.simulator.exaggerations import KINDS, Exaggeration, draw, every
from fleet.simulator.extremes import extremes
from fleet.simulator.terms import LYING_ONE_IN
from fleet.simulator.twins import numbers
from fleet.simulator.world import World

BLOB = Blob(digest=b"\x07" * 32, slot=0, frames=1, size=9)
MANIFEST = Manifest(
    generation=1,
    round=3,
    kind="train",
    state="open",
    seed=0,
    task=BLOB,
    model=BLOB,
    plan=Plan(epochs=1, batch_size=1),
    cohort=Cohort(fraction=1.0, seed=0),
    seconds_left=10.0,
)


@pytest.mark.parametrize("kind", KINDS)
def test_each_field_has_extremes_within_the_limits_and_beyond(kind: type) -> None:
    known = extremes(kind)
    assert {extreme.field for extreme in known} == set(kind.model_fields)  # type: ignore[attr-defined]
    for field in kind.model_fields:  # type: ignore[attr-defined]
        here = {extreme.inside for extreme in known if extreme.field == field}
        assert True in here, field
        assert False in here, field


def test_the_extremes_are_those_that_hurt() -> None:
    found = {kind: {(e.field, repr(e.value), e.inside) for e in extremes(kind)} for kind in KINDS}
    for field in ("generation", "round", "connection", "samples"):
        for value in (0, 1, 2**31 - 1, 2**31 - 2):
            assert (field, str(value), True) in found[Status]
        assert (field, "-1", False) in found[Status]
        assert (field, str(2**31), False) in found[Status]
    for value in (0, 1, -1, -(2**63), 2**64 - 1):
        assert ("samples", str(value), True) in found[Update]
    assert ("metrics", "{'loss_before': nan}", False) in found[Update]
    assert ("metrics", "{'loss_before': -1.7976931348623157e+308}", True) in found[Update]
    assert ("signer", repr(b"\xff" * 32), True) in found[Status]
    declines = [e.value for e in extremes(Status) if e.field == "declined" and e.inside and e.value]
    assert {"new" * 13, "failed"} <= {decline["reason"] for decline in declines}
    assert {0, 2**31 - 1} <= {decline["attempt"] for decline in declines}
    assert 500 in {len(decline["detail"]) for decline in declines}


def test_what_is_within_the_limits_is_taken_by_the_decoder_and_nothing_else() -> None:
    count = 0
    for lie in every("liar", MANIFEST):
        count += 1
        assert _taken(lie) == lie.inside, lie.extremes
    assert count > 300


def _taken(lie: Exaggeration) -> bool:
    try:
        unpack(lie.payload, lie.kind, max_bytes=MAX_SIZE)
    except ProtocolError:
        return False
    return True


def test_what_may_count_is_known_to_the_oracle() -> None:
    for lie in every("liar", MANIFEST):
        expected = lie.kind is Frame or (lie.inside and lie.kind in (Update, Survey))
        assert (lie.made is not None) == expected
        if lie.made is not None and not {e.field for e in lie.extremes} & {"generation", "round", "device"}:
            assert (lie.made.device, lie.made.round) == ("liar", RoundId(1, 3))


def _carries_an_update(data: bytes) -> bool:
    try:
        unpack(data, Update)
    except ProtocolError:
        return False
    return True


def test_it_writes_on_its_own_topics_alone_and_says_whole_messages() -> None:
    topics, rng = Topics("world"), random.Random(0)
    kinds = set()
    for _ in range(300):
        lie = draw("liar", MANIFEST, rng)
        kinds.add(lie.kind)
        said = list(lie.publications(topics))
        assert {piece.topic for piece in said} <= {topics.status("liar"), topics.update("liar")}
        if lie.kind in (Update, Survey):
            whole = b"".join(unpack(piece.payload, Frame).data for piece in said)
            assert hashlib.sha256(whole).digest() == lie.digest
    assert kinds == set(KINDS)


LYING = range(LYING_ONE_IN - 1, 32 * LYING_ONE_IN, LYING_ONE_IN)


def _with_lies(seeds: range) -> list[int]:
    return [seed for seed in seeds if any(f.kind == "lies" for f in World(seed, 5, 5).schedule)]


@pytest.mark.slow  # a dozen worlds without faults
def test_liars_of_a_world_say_something_extreme_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a member that lies counts in some rounds, with different claims, steps and control vectors."""
    said: list[Exaggeration] = []

    def heard(*values: Any) -> Exaggeration:
        said.append(draw(*values))
        return said[-1]

    monkeypatch.setattr(adversary, "draw", heard)
    monkeypatch.setattr(members, "draw", heard)
    visited = next(iter(_with_lies(range(40))))
    assert World(visited, 5, 5).run().violation is None
    assert {one.kind for one in said} == set(KINDS)
    said.clear()
    counted, samples, steps, controls = 0, set(), set(), set()
    for seed in LYING:
        world = World(seed, 5, 5)
        world.schedule = ()
        assert world.terms.lying
        assert world.run().violation is None
        counted += sum("liar" in part for part in world.machines.operator.book.part.values())
        made = world.oracle.record.made.values()
        told = [one.message for one in made if one.device == "liar"]
        samples |= {message.samples for message in told}
        updates = [message for message in told if isinstance(message, Update) and message.body]
        steps |= {update.steps for update in updates}
        vectors = [(update.vectors or {}).get("control", b"") for update in updates]
        controls |= {numbers(vector)[0] for vector in vectors if len(vector) == 16}
    assert counted > 15
    assert {one.kind for one in said} == set(KINDS)
    assert samples >= set(SAMPLES)
    assert steps >= set(STEPS)
    assert controls >= {float(np.float32(entry)) for entry in FURTHER}
