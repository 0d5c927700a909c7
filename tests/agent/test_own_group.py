"""A device in a masked round with groups: it finds its own group, and refuses every other one."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.shell import masked_updates
from fedge.errors import DamagedState
from fedge.masking.groups import groups_of
from fedge.masking.messages import Advertise, Terms
from fedge.masking.refusals import Why
from fedge.masking.round_messages import Call, Objection
from fedge.wire.messages.message import Message, unpack
from tests.agent.masked_places import ROUND, Place, call, federation, new_places, terms_of
from tests.agent.test_masked_rounds import give

NAMES = tuple(f"pi-{number}" for number in range(1, 8))
GROUPS = 2


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return federation(tmp_path_factory.mktemp("federation"), NAMES)


def drawn_by(name: str) -> bytes:
    return name.encode().ljust(32, b".")


@pytest.fixture
def places(homes: dict[str, Path]) -> dict[str, Place]:
    found = new_places(homes)
    for name, place in found.items():
        place.promise(ROUND, groups=GROUPS, drawn=drawn_by(name))
    return found


def called(places: dict[str, Place], name: str, **changes: Any) -> Call:
    """The call to the group of a device, with changes of the call."""
    drawn = {each: drawn_by(each) for each in NAMES}
    groups = groups_of(terms_of(NAMES), GROUPS, drawn)
    (own,) = [group for group in groups if name in group]
    found = call(terms_of(own), places)
    told = {"whole": NAMES, "drawn": b"".join(drawn.values()), **changes}
    return found.model_copy(update=told)


def refused(answers: list[Message]) -> str:
    (answer,) = answers
    assert isinstance(answer, Objection)
    return answer.why


def test_each_device_joins_the_group_that_follows_from_all_bytes(places: dict[str, Place]) -> None:
    for name, place in places.items():
        (answer,) = give(place, called(places, name))
        assert isinstance(answer, Advertise)


def test_the_bytes_are_kept_with_the_promise(places: dict[str, Place]) -> None:
    """A restart finds them again, in a memory that was written before there were any, too."""
    place = places["pi-1"]
    place.start()
    kept = place.memory.masked()
    assert kept is not None
    assert kept.drawn == drawn_by("pi-1")
    place.promise(ROUND)
    kept = place.memory.masked()
    assert kept is not None
    assert kept.drawn == b""
    path = place.home / "agent.db"
    with closing(sqlite3.connect(path)) as db:
        masked_updates.examine(db, path)
        db.execute("UPDATE masked SET drawn = x'00'")
        with pytest.raises(DamagedState, match="promised update"):
            masked_updates.examine(db, path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"whole": None, "drawn": None}, Why.OTHER_TERMS),
        ({"drawn": None}, Why.OTHER_TERMS),
        ({"drawn": b"".join(drawn_by(name) for name in NAMES[:-1])}, Why.MALFORMED),
        ({"drawn": b"".join(drawn_by(name) for name in NAMES)[:-1]}, Why.OTHER_GROUP),
        ({"whole": NAMES[1:]}, Why.MALFORMED),
        ({"whole": NAMES[::-1]}, Why.MALFORMED),
        ({"whole": (*NAMES[:-1], NAMES[0])}, Why.MALFORMED),
        ({"drawn": bytes(32) + b"".join(drawn_by(name) for name in NAMES[1:])}, Why.OTHER_GROUP),
        (
            {"drawn": b"".join(drawn_by(name) for name in NAMES[:-1]) + drawn_by("pi-1")},
            Why.OTHER_GROUP,
        ),
        (
            {
                "whole": NAMES[:5],
                "drawn": b"".join(drawn_by(name) for name in NAMES[:5]),
            },
            Why.SMALL_COHORT,
        ),
    ],
)
def test_groups_that_do_not_follow_are_refused(
    places: dict[str, Place], changes: dict[str, Any], why: Why
) -> None:
    assert refused(give(places["pi-1"], called(places, "pi-1", **changes))) == why


def test_a_server_cannot_choose_the_group(places: dict[str, Place]) -> None:
    """It puts pi-1 beside three others of its choice, with all the right bytes."""
    own = {each for group in groups_of(terms_of(NAMES), GROUPS, {n: drawn_by(n) for n in NAMES})
           for each in group if "pi-1" in group}  # fmt: skip
    others = sorted(set(NAMES) - own)
    chosen = tuple(sorted(["pi-1", *others[:3]]))
    drawn = b"".join(drawn_by(name) for name in NAMES)
    told = call(terms_of(chosen), places).model_copy(update={"whole": NAMES, "drawn": drawn})
    assert refused(give(places["pi-1"], told)) == Why.OTHER_GROUP


def test_a_server_cannot_choose_the_bytes_of_the_device(places: dict[str, Place]) -> None:
    """It tries bytes for pi-1 until the groups please it; they follow from what it tells."""
    drawn = {name: drawn_by(name) for name in NAMES} | {"pi-1": bytes(32)}
    (own,) = [group for group in groups_of(terms_of(NAMES), GROUPS, drawn) if "pi-1" in group]
    told = call(terms_of(own), places).model_copy(update={"whole": NAMES, "drawn": b"".join(drawn.values())})
    assert refused(give(places["pi-1"], told)) == Why.OTHER_GROUP


def test_groups_where_none_were_announced_are_refused(places: dict[str, Place]) -> None:
    places["pi-1"].promise(ROUND)
    assert refused(give(places["pi-1"], called(places, "pi-1"))) == Why.OTHER_TERMS


def test_a_group_is_as_large_as_was_promised(places: dict[str, Place]) -> None:
    """Four in each of two groups need eight devices, and seven are there."""
    places["pi-1"].promise(ROUND, cohort=4, threshold=3, groups=GROUPS, drawn=drawn_by("pi-1"))
    told = called(places, "pi-1")
    own = unpack(told.terms, Terms).cohort
    why = Why.SMALL_COHORT if len(own) >= 4 else Why.LOW_THRESHOLD
    assert refused(give(places["pi-1"], told)) == why


def test_other_attempts_have_other_groups() -> None:
    drawn = {each: drawn_by(each) for each in NAMES}

    def found(**changes: object) -> set[frozenset[str]]:
        terms: Terms = terms_of(NAMES, **changes)
        return {frozenset(group) for group in groups_of(terms, GROUPS, drawn)}

    assert len({frozenset(found(attempt=number)) for number in range(12)}) > 6
    assert found(threshold=7) == found(colluders=3) == found(), "what differs between groups does not count"
