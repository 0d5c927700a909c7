"""What devices claim to have seen is believed by the rules of `aggregator.core.claims`, each row of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.core.claims import (
    MORE_GENERATIONS,
    MORE_ROUNDS,
    NOTHING,
    Assessment,
    Known,
    assess,
    incredible_text,
    is_near,
    next_generation,
    outdated_text,
)
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_COUNTER
from tests.wording import assert_tells

HERE = RoundId(1, 3)
LAST = RoundId(MAX_COUNTER - 1, 0)


def old(devices: str = "abcdef", round_id: RoundId = HERE) -> Known:
    """A ledger that has closed rounds with these devices."""
    return Known(round_id, frozenset(devices), young=False)


def heard(known: Known, spoken: str, **claims: RoundId) -> Assessment:
    return assess(known, spoken, claims)


# ── a ledger with a past ───────────────────────────────────────────────────────────────────────────

A, B, C, D = ({name: RoundId(1, 5)} for name in "abcd")


@pytest.mark.parametrize(
    ("devices", "spoken", "claims", "outcome", "is_open"),
    [
        ("abcdef", "", {}, "fits", False),
        ("abcdef", "abc", {}, "fits", False),
        # one alone is waited with, and then outvoted by those who are silent
        ("abcdef", "a", A, "fits", True),
        ("abcdef", "abc", A, "fits", False),
        ("ab", "ab", A, "fits", False),
        ("ab", "a", A, "fits", False),  # half has spoken
        ("abc", "a", A, "fits", True),
        # of a fleet of one it is the whole
        ("a", "a", A, "behind", False),
        # two of those few who have spoken: what may pass by waiting is no end
        ("abcdef", "ab", A | B, "undecided", True),
        ("abcdefghijkl", "abcde", A | B, "fits", True),
        ("abcdef", "abc", A | B, "fits", False),
        ("abcdef", "abc", A | B | C, "fits", False),  # half is not more than half
        ("abcdef", "abcd", A | B | C | D, "behind", False),
        ("abcd", "abc", A | B | C, "behind", False),
        # whom the ledger does not know has no voice
        ("abc", "abxyz", {name: RoundId(1, 5) for name in "xyz"}, "fits", False),
        ("ab", "abxy", A | {name: RoundId(1, 5) for name in "xy"}, "fits", False),
    ],
)
def test_more_than_half_of_the_devices_that_the_ledger_knows_are_believed(
    devices: str, spoken: str, claims: dict[str, RoundId], outcome: str, is_open: bool
) -> None:
    verdict = assess(old(devices), spoken, claims)
    assert (verdict.outcome, verdict.open) == (outcome, is_open)
    assert (verdict.believed is not None) == (outcome == "behind")


def test_what_is_believed_is_the_newest_that_enough_of_them_claim() -> None:
    verdict = heard(old("abc"), "abc", a=RoundId(2, 1), b=RoundId(1, 7), c=RoundId(1, 2))
    assert verdict.believed == (1, 7)


@pytest.mark.parametrize(
    ("claim", "near"),
    [
        (RoundId(1, 3 + MORE_ROUNDS), True),
        (RoundId(1, 4 + MORE_ROUNDS), False),
        (RoundId(2, MORE_ROUNDS), True),
        (RoundId(2, MORE_ROUNDS + 1), False),
        (RoundId(3, 0), False),
        (LAST, False),
    ],
)
def test_claims_are_bounded_by_what_the_ledger_knows(claim: RoundId, near: bool) -> None:
    assert is_near(claim, HERE) == near
    verdict = heard(old("ab"), "ab", a=claim, b=claim)
    assert verdict.outcome == ("behind" if near else "fits")
    assert verdict.incredible == ({} if near else {"a": claim, "b": claim})


def test_who_said_what_is_named() -> None:
    claims = {name: RoundId(1, number) for number, name in enumerate("abcdefg", 4)}
    text = heard(old("abcdefgh"), "abcdefgh", **claims).text
    assert_tells(text, "7 of the 8 devices", "1.3", "a (1.4), b (1.5), c (1.6), d (1.7), e (1.8) and 2 more")
    assert_tells(heard(old(), "ab", **A, **B).text, "a (1.5), b (1.5)", "c, d, e, f")
    said = incredible_text({"liar": LAST}, HERE)
    for words in ("liar (2147483646.0)", "knows 1.3", "forget-rounds", "rotate-key"):
        assert words in said


def test_where_most_claim_too_much_the_ledger_may_be_a_very_old_copy() -> None:
    known = old("abcd")
    far = dict.fromkeys("abc", RoundId(1, 5_000))
    assert heard(known, "abcd", **far).outcome == "fits", "a hint, and no proof"
    hint = outdated_text(far, known)
    for words in ("3 of the 4 devices", "old copy", "--new-generation"):
        assert words in hint
    assert outdated_text({"a": far["a"], "b": far["b"]}, known) == "", "half of them are not most"
    assert outdated_text(dict.fromkeys("abcd", LAST), known) == "", "no generation of ours follows that one"
    assert outdated_text(dict.fromkeys("wxyz", RoundId(1, 5_000)), known) == "", "who are they?"


def test_of_a_roster_only_those_count_who_are_in_it() -> None:
    known = Known(HERE, frozenset("abcd"), young=False, roster=frozenset("abx"))
    assert known.voters == frozenset("ab")
    assert heard(known, "abcd", **C, **D).outcome == "fits"
    assert heard(known, "abcd", **A, **B).outcome == "behind"


# ── a ledger without a past ────────────────────────────────────────────────────────────────────────

NEW = Known()


@pytest.mark.parametrize(
    ("known", "spoken", "claims", "outcome", "is_open"),
    [
        (NEW, "abc", {}, "fits", False),
        (NEW, "a", A, "fits", True),
        (NEW, "abc", A, "fits", True),
        (NEW, "ab", A | B, "behind", True),
        (NEW, "abcd", A | B, "behind", True),
        (NEW, "abcde", A | B, "fits", True),
        # the bound on how far needs something to be far from
        (NEW, "ab", {"a": RoundId(7, 5_000), "b": RoundId(7, 5_001)}, "behind", True),
        (Known(RoundId(1, 0), frozenset("ab")), "ab", {"a": LAST, "b": LAST}, "behind", False),
        (Known(RoundId(1, 0), frozenset("ab")), "ab", {"a": LAST}, "fits", False),
        # where it is known who is to come, half of them are waited for
        (Known(roster=frozenset("abcd")), "ab", A | B, "behind", False),
        (Known(roster=frozenset("abcdef")), "ab", A | B, "undecided", True),
        (Known(roster=frozenset("abcd")), "ab", A, "fits", False),
        (Known(roster=frozenset("abcd")), "xyz", {name: RoundId(1, 5) for name in "xyz"}, "fits", False),
    ],
)
def test_a_young_ledger_does_not_begin_over_the_memory_of_two_devices(
    known: Known, spoken: str, claims: dict[str, RoundId], outcome: str, is_open: bool
) -> None:
    verdict = assess(known, spoken, claims)
    assert (verdict.outcome, verdict.open) == (outcome, is_open)


def test_a_lone_claim_that_cannot_be_is_named_also_by_a_new_ledger() -> None:
    verdict = heard(NEW, "abc", a=LAST)
    assert verdict.incredible == {"a": LAST}
    assert_tells(incredible_text(verdict.incredible, None), "ledger is new")
    text = heard(NEW, "ab", a=RoundId(1, 7), b=RoundId(1, 8)).text
    assert_tells(text, "2 of the 2 devices", "a (1.7), b (1.8)", "ledger is new")


# ── the number of the next generation ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("known", "claims", "announced", "signed", "expected"),
    [
        (old("abc"), {}, NOTHING, False, 2),
        (old("abc"), {"a": LAST}, NOTHING, False, 2),
        (old("abc"), {"a": LAST, "b": LAST, "c": LAST}, NOTHING, False, 2),
        # one device may have seen one generation more, and then has to follow
        (old("abc"), {"a": RoundId(2, 9)}, NOTHING, False, 3),
        (old("abc"), {"a": RoundId(2, 9_000)}, NOTHING, False, 3),
        (old("abc"), {"a": RoundId(3, 0)}, NOTHING, False, 2),
        (old("abc"), {"a": RoundId(2, 1), "b": RoundId(2, 1), "c": RoundId(3, 1)}, NOTHING, False, 4),
        # announcements: only a signature proves a number
        (old("abc"), {}, RoundId(5, 9), False, 6),
        (old("abc"), {}, RoundId(1 + MORE_GENERATIONS, 9), False, 2 + MORE_GENERATIONS),
        (old("abc"), {}, RoundId(2 + MORE_GENERATIONS, 9), False, 2),
        (old("abc"), {"a": LAST, "b": LAST}, LAST, False, 2),
        (old("abc"), {}, LAST, True, MAX_COUNTER),
        (old("abc"), {}, RoundId(MAX_COUNTER, 0), True, MAX_COUNTER + 1),
        # a new ledger believes what two devices say
        (NEW, {"a": RoundId(5, 1)}, NOTHING, False, 1),
        (NEW, {"a": RoundId(5, 1), "b": RoundId(6, 1)}, NOTHING, False, 7),
        (NEW, {"a": LAST, "b": LAST}, NOTHING, False, 1),
    ],
)
def test_the_next_generation_is_after_all_that_is_believed(
    known: Known, claims: dict[str, RoundId], announced: RoundId, signed: bool, expected: int
) -> None:
    verdict = assess(known, "abc", claims)
    assert next_generation(known, claims, verdict, announced, signed=signed) == expected


rounds = st.builds(
    RoundId,
    st.sampled_from([0, 1, 2, 3, 4, 5, MAX_COUNTER - 1, MAX_COUNTER]),
    st.sampled_from([0, 1, 3, 1_003, 1_004, MAX_COUNTER]),
)


@given(
    st.dictionaries(st.sampled_from("bcdef"), rounds),
    rounds,
    st.booleans(),
    st.sampled_from(["ab", "abc", "abcdef"]),
)
def test_one_liar_neither_stops_a_ledger_nor_moves_the_number_by_more_than_one(
    others: dict[str, RoundId], lie: RoundId, speaks_first: bool, devices: str
) -> None:
    known, spoken = old(devices), "a" if speaks_first else "abcdef"
    truth = {} if speaks_first else {name: claim for name, claim in others.items() if name in devices}
    honest, lied = assess(known, spoken, truth), assess(known, spoken, {**truth, "a": lie})
    if not honest.newer:
        assert lied.outcome == "fits"
    before = next_generation(known, truth, honest, NOTHING, signed=False)
    assert next_generation(known, {**truth, "a": lie}, lied, NOTHING, signed=False) <= before + 1
