"""Every key and every signed statement belongs to one purpose, one attempt and one roster."""

from collections.abc import Callable
from hashlib import sha256

import pytest

from benchmarks.masked_cohort import Cohort, terms_of
from fedge.masking import ciphers, statements
from fedge.masking.graph import ring_of
from fedge.masking.keys import (
    SealingKeys,
    Secrets,
    directory,
    mask_keys,
    public_keys,
    sealing_keys,
    secrets_of,
)
from fedge.masking.messages import Roster, Terms
from fedge.masking.ring import Ring
from fedge.masking.thresholds import GRINDING_BITS, SECURITY_BITS, Neighbourhood

TERMS = terms_of(5)
OTHERS = {
    "federation": "tools",
    "generation": 2,
    "round": 2,
    "attempt": 1,
    "base": bytes(32),
    "cohort": ("d0000", "d0001", "d0002", "d0003", "d0005"),
    "size": 17,
    "value_bits": 7,
    "clip": 2.0,
    "max_weight": 2,
    "threshold": 5,
    "colluders": 1,
    "dropouts": 1,
    "server": "honest-but-curious",
}


def secrets(byte: int, terms: Terms = TERMS) -> Secrets:
    return secrets_of(bytes([byte]) * 32, terms)


@pytest.mark.parametrize("field", OTHERS)
def test_no_key_is_the_same_under_other_terms(field: str) -> None:
    """Whatever the server tells two devices differently, they then share nothing."""
    assert OTHERS.keys() == Terms.model_fields.keys()
    other = terms_of(5, **{field: OTHERS[field]})
    assert statements.digest(other) != statements.digest(TERMS)
    assert statements.context(other) != statements.context(TERMS)
    mine, theirs = secrets(1), public_keys(secrets(2))
    own = public_keys(mine)
    for keys in (
        lambda terms: secrets(1, terms).self_mask,
        lambda terms: secrets(1, terms).masking,
        lambda terms: secrets(1, terms).sealing,
        lambda terms: secrets(1, terms).polynomial(b"self", 3),
        lambda terms: mask_keys(terms, mine.masking, own.masking, [theirs.masking])[0],
        lambda terms: sealing_keys(terms, bytes(32), mine.sealing, own.sealing, [theirs.sealing])[0],
    ):
        assert keys(other) != keys(TERMS)


def test_both_sides_derive_the_same_keys_and_each_purpose_has_its_own() -> None:
    mine, theirs = secrets(1), secrets(2)
    own, other = public_keys(mine), public_keys(theirs)
    mask = mask_keys(TERMS, mine.masking, own.masking, [other.masking])
    assert mask == mask_keys(TERMS, theirs.masking, other.masking, [own.masking])

    def seal(roster: bytes) -> SealingKeys:
        (here,) = sealing_keys(TERMS, roster, mine.sealing, own.sealing, [other.sealing])
        (there,) = sealing_keys(TERMS, roster, theirs.sealing, other.sealing, [own.sealing])
        assert here is not None
        assert there is not None
        assert (here.outgoing, here.incoming) == (there.incoming, there.outgoing)
        return here

    found = [key for roster in (b"a", b"b") for key in seal(roster)]
    polynomials = [mine.polynomial(label, 3) for label in (b"self", b"key")]
    each = [*mask, *found, *polynomials, mine.sealing, mine.masking, mine.self_mask, mine.sharing]
    assert len(set(each)) == len(each), "a key seals one text: its direction and its roster are its own"


@pytest.mark.parametrize(
    ("statement", "parts"),
    [
        (statements.advertisement, [b"terms", "device", b"keys"]),
        (statements.roster_digest, [b"terms", b"members", b"keys"]),
        (statements.masked_with, [b"roster", b"sharers"]),
        (statements.survivors, [b"roster", b"sharers", b"alive"]),
    ],
)
def test_a_signature_stands_for_each_part_of_its_statement(
    statement: Callable[..., bytes], parts: list[str | bytes]
) -> None:
    made = statement(*parts)
    for at, part in enumerate(parts):
        longer = part + (b"x" if isinstance(part, bytes) else "x")  # type: ignore[operator]  # of one type
        assert statement(*parts[:at], longer, *parts[at + 1 :]) != made
    if len(parts) > 1 and all(isinstance(part, bytes) for part in parts):
        first, second, *rest = parts
        moved = statement(first + second[:1], second[1:], *rest)  # type: ignore[operator]  # both are bytes
        assert moved != made, "the same bytes, divided in another way"


def test_no_two_statements_are_the_same_bytes() -> None:
    same = b"p" * 32
    made = [
        statements.advertisement(same, "p", same),
        statements.masked_with(same, same),
        statements.survivors(same, same, same),
        statements.purpose(same, same),
    ]
    assert len({*made}) == len(made)


def rosters() -> tuple[Terms, Roster]:
    found: list[Roster] = []

    class Kept(Cohort):
        def changed(self, to: str, message):  # type: ignore[no-untyped-def]  # as in the parent
            found.extend([message] if isinstance(message, Roster) else [])
            return message

    cohort = Kept(terms_of(200))
    cohort.answer(cohort.announcements(), ())
    cohort.end_phase()
    return cohort.terms, found[0]


def test_the_order_of_devices_follows_from_all_advertised_keys_and_costs_work() -> None:
    """So nobody chooses it, and a try takes 16,384 hashes: 2⁻⁸⁰ by chance is 2⁻⁴⁰ after 2⁴⁰ tries."""
    terms, roster = rosters()
    first = directory(terms, roster)
    last = bytes([roster.advertised[-1] ^ 1])
    other = directory(terms, roster.model_copy(update={"advertised": roster.advertised[:-1] + last}))
    assert not hasattr(first, "why")
    assert not hasattr(other, "why")
    assert first.graph.order != other.graph.order  # type: ignore[union-attr]  # neither is a refusal
    assert first.graph.neighbourhood == Neighbourhood(35, 21)  # type: ignore[union-attr]  # as above
    curious = terms_of(200, server="honest-but-curious")
    least = directory(curious, roster)
    assert least.graph.neighbourhood == Neighbourhood(32, 18)  # type: ignore[union-attr]  # as above
    assert (SECURITY_BITS, GRINDING_BITS) == (40, 40)


def test_what_all_devices_compute_never_changes() -> None:
    """Known answers, so that devices of two versions share masks. The mask is RFC 8439's first test vector,
    76b8 e0ad a0f1 3d90; the others were computed by this code.
    """
    order = ring_of(range(10), Neighbourhood(2, 1), b"seed").order
    told = (
        *order,
        secrets(1).self_mask.hex()[:16],
        statements.digest(TERMS).hex()[:16],
        ciphers.mask(bytes(32), Ring(8, 100), 4).tolist(),
        sha256(ciphers.sealed(bytes(32), b"plain", b"about")).hexdigest()[:16],
    )
    assert told == KNOWN


KNOWN = (
    *(9, 8, 4, 7, 6, 0, 1, 5, 3, 2),
    "211634a08a57bba6",
    "2005a2720f4bd3f6",
    [0xB876, 0xADE0, 0xF1A0, 0x903D],
    "630fc13a37b48e31",
)


def test_a_mask_is_as_long_as_the_update_and_never_repeats_itself() -> None:
    ring = Ring(8, 1_000)
    values = ciphers.mask(bytes(32), ring, 4_096)
    assert values.dtype.itemsize == 4
    assert len(set(values.tolist())) > 4_090, "of 4,096 draws of 32 bits, two are the same once in 500"
