"""What the server holds of one update looks random, until more devices help it than the threshold bears.

Every update is the same in all entries, so any remainder that is not masked fails the test of uniform bytes.
The test is the same in each case, and the last ones show that it sees what it should.
"""

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.masked_cohort import Cohort, terms_of
from fedge.masking import ciphers, statements
from fedge.masking.device_state import Received
from fedge.masking.keys import pieces_of
from fedge.masking.messages import (
    SEALED_BYTES,
    Agreement,
    Consistency,
    Delivery,
    MaskingMessage,
    Survivors,
)
from fedge.masking.ring import Ring, Values
from fedge.masking.server_state import Phase, Summed
from fedge.masking.thresholds import colluders_borne
from tests.fedge.masking.adversary import looks_random, residual

SIZE = 16_384
"""64 of each byte."""


def constant(devices: int, **changes: object) -> Cohort:
    terms = terms_of(devices, size=SIZE, **changes)
    levels = {name: np.full(SIZE, 10 + at) for at, name in enumerate(terms.cohort)}
    return Cohort(terms, seed=devices, levels=levels)


def exposed(cohort: Cohort, values: Values, victim: int) -> bool:
    """Whether the remainder is the update."""
    return bool((cohort.server.ring.signed(values) == 10 + victim).all())


@pytest.mark.parametrize("devices", [7, 9, 70])
def test_an_honest_server_with_all_but_one_share_of_the_threshold(devices: int) -> None:
    """t - 1 devices give it their secrets; one device more is lost. 70: t of the neighbours."""
    cohort = constant(devices)
    lost = {Phase.INPUT: frozenset({devices - 1})}
    assert isinstance(cohort.run(lost), Summed)
    roster = cohort.server.roster
    assert roster is not None
    near = roster.graph.neighbours(0)
    helpers = frozenset([each for each in near if each != devices - 1][: roster.graph.threshold - 1])
    assert len(helpers) == roster.graph.threshold - 1
    assert looks_random(residual(cohort, 0, helpers))
    assert looks_random(residual(cohort, 0, frozenset()))
    assert not looks_random(cohort.levels["d0000"].astype(np.uint16))


class KeptBack(Exception):  # noqa: N818 (no error)
    """The server keeps back the true survivors."""


class TwoSets(Cohort):
    """A server that tells half of the honest devices that a victim is dead, with helpers that sign both."""

    helpers: frozenset[int] = frozenset()
    victim = 0

    def attack(self) -> None:
        devices = len(self.terms.cohort)
        honest = [at for at in range(devices) if at not in self.helpers]
        halves = honest[: len(honest) // 2], honest[len(honest) // 2 :]
        everyone = frozenset(range(devices))
        self.split = dict.fromkeys(halves[0], everyone) | {at: everyone - {self.victim} for at in halves[1]}
        with pytest.raises(KeptBack):
            self.run()
        for half in halves:
            self.persuade(half, everyone, self.split[half[0]])

    def persuade(self, group: Sequence[int], sharers: frozenset[int], alive: frozenset[int]) -> None:
        """Let a group of honest devices sign these sets, and show them its signatures and the helpers'."""
        names, roster, devices = self.terms.cohort, self.server.roster, len(self.terms.cohort)
        assert roster is not None
        bits = [statements.bitmap(each, devices) for each in (sharers, alive, sharers - alive)]
        message = Survivors(terms=self.server.digest, alive=bits[1], dead=bits[2], signatures=b"")
        said = statements.survivors(roster.digest, *bits[:2])
        signatures = {at: self.identities(names[at]).sign(said) for at in self.helpers}
        for at in group:
            for answer in self.tell(names[at], Received(message)):
                assert isinstance(answer, Consistency)
                signatures[at] = answer.signature
        body = b"".join(signatures[at] for at in sorted(signatures))
        agreement = Agreement(
            terms=self.server.digest, signers=statements.bitmap(signatures, devices), signatures=body
        )
        for at in group:
            for answer in self.tell(names[at], Received(agreement)):
                self.seen[names[at], answer.TYPE] = answer

    def changed(self, to: str, message: MaskingMessage) -> MaskingMessage:
        if isinstance(message, Survivors):
            raise KeptBack
        return message


def two_sets(devices: int, helpers: int) -> tuple[TwoSets, Values]:
    """The victim is the first device, and the last ones help."""
    made = constant(devices)
    cohort = TwoSets(made.terms, seed=devices, levels=made.levels)
    cohort.helpers = frozenset(range(devices - helpers, devices))
    cohort.attack()
    return cohort, residual(cohort, 0, cohort.helpers)


@pytest.mark.parametrize("devices", [6, 9, 12])
def test_a_lying_server_with_the_most_helpers_that_the_threshold_bears(devices: int) -> None:
    """c < 2t - n: no two survivor sets get t signatures."""
    threshold = terms_of(devices).threshold
    cohort, values = two_sets(devices, colluders_borne(devices, threshold))
    assert looks_random(values)
    assert not exposed(cohort, values, 0)


@pytest.mark.parametrize("devices", [6, 9, 12])
def test_control_one_helper_more_and_the_update_is_found(devices: int) -> None:
    """c = 2t - n: (n - c) / 2 + c = t sign each set."""
    threshold = terms_of(devices).threshold
    cohort, values = two_sets(devices, colluders_borne(devices, threshold) + 1)
    assert not looks_random(values)
    assert exposed(cohort, values, 0)


class TwoSharerSets(TwoSets):
    """A server that lets a victim mask with its helpers and with devices that it will call dead.

    No device checks with whom the others have masked: the signatures of the survivors are all there is.
    """

    def attack(self) -> None:
        devices, threshold = len(self.terms.cohort), self.terms.threshold
        honest = [at for at in range(1, devices) if at not in self.helpers]
        dead = frozenset(honest[: threshold - 1 - len(self.helpers)])
        self.told = frozenset({self.victim}) | self.helpers | dead
        with pytest.raises(KeptBack):
            self.run()
        attempt = self.states[self.terms.cohort[self.victim]].attempt
        assert attempt is not None
        assert attempt.sharers == self.told
        everyone = frozenset(range(devices))
        self.persuade([at for at in honest if at not in dead], everyone, everyone - dead)

    def changed(self, to: str, message: MaskingMessage) -> MaskingMessage:
        if isinstance(message, Delivery) and to == self.terms.cohort[self.victim]:
            near = [at for at in range(len(self.terms.cohort)) if at != self.victim]
            pieces = zip(near, pieces_of(message.sealed, SEALED_BYTES), strict=True)
            change = {
                "sharers": statements.bitmap(self.told, len(self.terms.cohort)),
                "sealed": b"".join(piece for at, piece in pieces if at in self.told),
            }
            return message.model_copy(update=change)
        return super().changed(to, message)


@pytest.mark.parametrize("devices", [6, 9, 12, 50])
@pytest.mark.parametrize("more", [0, 1])
def test_a_victim_that_masks_with_other_sharers(devices: int, more: int) -> None:
    """An honest signer is among the t sharers that the victim has accepted, as 2t > n + c: their mask stays.

    With one helper more there is none, and the update is found.
    """
    made = constant(devices)
    cohort = TwoSharerSets(made.terms, seed=devices, levels=made.levels)
    helpers = colluders_borne(devices, made.terms.threshold) + more
    cohort.helpers = frozenset(range(devices - helpers, devices))
    cohort.attack()
    values = residual(cohort, 0, cohort.helpers)
    assert looks_random(values) is (more == 0)
    assert exposed(cohort, values, 0) is (more == 1)


def test_control_a_mask_that_is_used_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The difference of what a device sends in two attempts is random, but not with the same secrets."""

    def difference() -> Values:
        first, second = constant(5), constant(5, attempt=1)
        second.levels = {name: level + 1 for name, level in first.levels.items()}
        first.run()
        second.run()
        views = [residual(cohort, 0, frozenset()) for cohort in (first, second)]
        return first.server.ring.without(*views)

    assert looks_random(difference())
    monkeypatch.setattr(statements, "context", lambda terms: b"the same for each attempt")
    assert not looks_random(difference())


def test_control_a_mask_of_zeros_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def bare(values: Values, ring: Ring, added: Sequence[bytes], taken: Sequence[bytes]) -> Values:
        return values

    def zeros(key: bytes, ring: Ring, size: int) -> Values:
        return np.zeros(size, ring.word)

    monkeypatch.setattr(ciphers, "masked", bare)
    monkeypatch.setattr(ciphers, "mask", zeros)
    cohort = constant(5)
    cohort.run()
    values = residual(cohort, 0, frozenset())
    assert not looks_random(values)
    assert exposed(cohort, values, 0)
