"""Lies that need another graph or a helper among the devices: what a device refuses where 70 share by places.

Of 70 devices each shares with 15 on either side, t = 47, and 8 of every 15 in a row have to be alive.
"""

from collections.abc import Collection
from dataclasses import replace

import pytest

from benchmarks.masked_cohort import Cohort, Mail, paper_identities, terms_of
from fedge.identity.ed25519 import SIGNATURE_BYTES
from fedge.masking import device, statements
from fedge.masking.device_state import Received, Refuse
from fedge.masking.graph import Graph
from fedge.masking.keys import pieces_of
from fedge.masking.messages import (
    ADVERTISED_BYTES,
    SEALED_BYTES,
    Delivery,
    MaskedInput,
    MaskingMessage,
    Roster,
    Survivors,
)
from fedge.masking.refusals import Why

N, NAME, PLACE = 70, "d0001", 1


def until(phases: int, cohort: Cohort, gone: Collection[str] = ()) -> Mail:
    """Run some phases, and return what the server sends then."""
    mail = cohort.announcements()
    for _ in range(phases):
        cohort.answer(mail, gone)
        found = cohort.end_phase()
        assert isinstance(found, list), found
        mail = found
    return mail


@pytest.fixture(scope="module")
def shared() -> Cohort:
    """Before the deliveries."""
    cohort = Cohort(terms_of(N))
    until(2, cohort)
    return cohort


@pytest.fixture(scope="module")
def masked(shared: Cohort) -> Cohort:
    """Before the survivors."""
    cohort = Cohort(terms_of(N))
    until(3, cohort)
    return cohort


def refusal(cohort: Cohort, message: MaskingMessage) -> Why | None:
    state = cohort.states[NAME]
    after, effects = device.step(state, Received(message), paper_identities(NAME))
    if isinstance(effects[-1], Refuse):
        assert after is state, "a refusal changes nothing"
        return effects[-1].refusal.why
    return None


def graph_of(cohort: Cohort) -> Graph:
    assert cohort.server.roster is not None
    graph = cohort.server.roster.graph
    assert graph.neighbourhood is not None
    assert (graph.neighbourhood.half, graph.neighbourhood.alive, cohort.terms.threshold) == (15, 8, 47)
    return graph


def spread(graph: Graph, missing: int) -> frozenset[int]:
    """So many are missing, as evenly along the order as can be, and the victim is there."""
    start = graph.places[PLACE] + 1
    out = {graph.order[(start + at * N // missing) % N] for at in range(missing)} - {PLACE}
    assert len(out) == missing
    return frozenset(range(N)) - out


def in_a_row(graph: Graph, missing: int) -> frozenset[int]:
    """So many are missing side by side, far from the victim."""
    start = graph.places[PLACE] + 20
    return frozenset(range(N)) - {graph.order[(start + at) % N] for at in range(missing)}


CASES = [(spread, 23, None), (spread, 24, Why.TOO_FEW), (in_a_row, 7, None), (in_a_row, 8, Why.TOO_FEW)]


@pytest.mark.parametrize(("chosen", "missing", "why"), CASES)
def test_sharers_have_to_be_enough_in_all_and_in_each_place(
    shared: Cohort, chosen: object, missing: int, why: Why | None
) -> None:
    graph = graph_of(shared)
    sharers = chosen(graph, missing)  # type: ignore[operator]  # one of the functions above
    near = [each for each in graph.neighbours(PLACE) if each in sharers]
    message = Delivery(
        terms=shared.server.digest,
        sharers=statements.bitmap(sharers, N),
        sealed=bytes(SEALED_BYTES * len(near)),
    )
    assert refusal(shared, message) is why


@pytest.mark.parametrize(("chosen", "missing", "why"), CASES)
def test_survivors_have_to_be_enough_in_all_and_in_each_place(
    masked: Cohort, chosen: object, missing: int, why: Why | None
) -> None:
    """Fewer in all and two sets would find t signers; fewer in one place and a group of them is cut off."""
    graph = graph_of(masked)
    alive = chosen(graph, missing)  # type: ignore[operator]  # one of the functions above
    inputs = [masked.seen[f"d{at:04d}", MaskedInput.TYPE] for at in graph.neighbours(PLACE) if at in alive]
    message = Survivors(
        terms=masked.server.digest,
        alive=statements.bitmap(alive, N),
        dead=statements.bitmap(frozenset(range(N)) - alive, N),
        signatures=b"".join(each.signature for each in inputs if isinstance(each, MaskedInput)),
    )
    assert refusal(masked, message) is why


def test_among_neighbours_each_survivor_has_signed_with_whom_it_masks(masked: Cohort) -> None:
    alive = frozenset(range(N))
    near = graph_of(masked).neighbours(PLACE)
    signed = []
    for at in near:
        found = masked.seen[f"d{at:04d}", MaskedInput.TYPE]
        assert isinstance(found, MaskedInput)
        signed.append(found.signature)
    bits = {"alive": statements.bitmap(alive, N), "dead": statements.bitmap((), N)}
    forged = [*signed[:-1], bytes(64)]
    for signatures, why in ((forged, Why.BAD_SIGNATURE), (signed[1:], Why.MALFORMED), (signed, None)):
        message = Survivors(terms=masked.server.digest, **bits, signatures=b"".join(signatures))
        assert refusal(masked, message) is why


def test_a_sharer_that_is_not_of_the_roster_and_a_device_that_shared_and_is_left_out() -> None:
    cohort = Cohort(terms_of(6))
    mail = until(2, cohort, {"d0005"})
    message = next(event.message for name, event in mail if name == NAME and isinstance(event, Received))
    assert isinstance(message, Delivery)
    more = message.model_copy(update={"sharers": statements.bitmap(range(6), 6)})
    assert refusal(cohort, more) is Why.MALFORMED
    assert refusal(cohort, message) is None
    cohort = Cohort(terms_of(6))
    mail = until(2, cohort)
    message = next(event.message for name, event in mail if name == NAME and isinstance(event, Received))
    without = message.model_copy(update={"sharers": statements.bitmap([0, 2, 3, 4, 5], 6)})
    assert refusal(cohort, without) is Why.MALFORMED
    assert refusal(cohort, message) is None


@pytest.mark.parametrize("which", [0, 1])
def test_a_helper_signs_a_weak_key(which: int) -> None:
    """Its masks would be known to everybody. A sealing key is used at once, a masking key with the update."""
    cohort = Cohort(terms_of(6))
    mail = until(1, cohort)
    (roster,) = {id(e.message): e.message for _, e in mail if isinstance(e, Received)}.values()
    assert isinstance(roster, Roster)
    pieces, signatures = (
        pieces_of(roster.advertised, ADVERTISED_BYTES),
        pieces_of(roster.signatures, SIGNATURE_BYTES),
    )
    keys = pieces[3][: 32 * which] + bytes(32) + pieces[3][32 * (which + 1) :]
    pieces[3] = keys
    signatures[3] = paper_identities("d0003").sign(statements.advertisement(roster.terms, "d0003", keys))
    change = {"advertised": b"".join(pieces), "signatures": b"".join(signatures)}
    weak = roster.model_copy(update=change)
    if which == 0:
        assert refusal(cohort, weak) is Why.WEAK_KEY
        return
    for name in cohort.terms.cohort:
        cohort.tell(name, Received(weak))
    attempt = cohort.states[NAME].attempt
    assert attempt is not None
    assert attempt.roster is not None
    sealed = bytes(SEALED_BYTES * 5)
    sharers = statements.bitmap(range(6), 6)
    sent = cohort.tell(NAME, Received(Delivery(terms=cohort.server.digest, sharers=sharers, sealed=sealed)))
    assert not sent
    assert (NAME, Why.WEAK_KEY) in [(name, refusal.why) for name, refusal in cohort.refused]


def test_shares_under_two_rosters_are_of_two_polynomials() -> None:
    """Else a server that tells two rosters gets the shares of more devices than one roster has."""
    held = []
    for gone in (set[str](), {"d0005"}):
        cohort = Cohort(terms_of(6))
        cohort.answer(cohort.announcements(), gone)
        mail = cohort.end_phase()
        assert isinstance(mail, list)
        cohort.answer(mail, gone)
        attempt = cohort.states[NAME].attempt
        assert attempt is not None
        held.append(pieces_of(attempt.held[PLACE], 33))
    assert len({share for each in held for share in each}) == 4


def test_a_second_roster_is_refused_once_shares_are_sealed_for_the_first() -> None:
    """And the first one is answered with the same bytes."""
    cohort = Cohort(terms_of(6))
    cohort.answer(cohort.announcements(), ())
    fewer = cohort.fork()
    rosters = []
    for each in (cohort, fewer):
        if each is fewer:
            advertised = dict(each.server.advertised)
            del advertised[5]
            each.server = replace(each.server, advertised=advertised)
        found = each.end_phase()
        assert isinstance(found, list)
        rosters.append(next(event for name, event in found if name == NAME))
    (first,) = cohort.tell(NAME, rosters[0])
    assert cohort.tell(NAME, rosters[1]) == []
    assert [refusal.why for _, refusal in cohort.refused] == [Why.TWICE]
    assert cohort.tell(NAME, rosters[0]) == [first]
