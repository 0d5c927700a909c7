"""What one device can do to the sum, and to the server that computes it."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.masked_cohort import Cohort, paper_identities, terms_of
from fedge.masking import device, unmasking
from fedge.masking.device_state import Announced, Device, UpdateReady
from fedge.masking.messages import MaskedInput, Unmask
from fedge.masking.refusals import Why
from fedge.masking.ring import Ring
from fedge.masking.server_state import Failed, Phase, Summed
from fedge.masking.sharing import SHARE_BYTES

LIAR = "d0002"


class Adding(Cohort):
    """One device adds something to its masked update, beyond the terms."""

    more: Callable[[int], np.ndarray] = np.zeros

    def receive(self, name: str, message: object) -> None:
        if isinstance(message, MaskedInput) and name == LIAR:
            ring, size = self.server.ring, len(message.values) // self.server.ring.width
            values = ring.unpacked(message.values, size)
            assert values is not None
            body = ring.packed(ring.added(values, self.more(size).astype(np.int64).astype(ring.word)))
            message = message.model_copy(update={"values": body})
        super().receive(name, message)  # type: ignore[arg-type]  # what a cohort sends is a message


def entry(at: int, value: int) -> Callable[[int], np.ndarray]:
    def made(size: int) -> np.ndarray:
        return np.eye(1, size, at % size, dtype=np.int64)[0] * value

    return made


@pytest.mark.parametrize(("at", "value"), [(3, 12_000), (3, -12_000), (-1, -5_000), (-1, 500)])
def test_a_sum_that_no_updates_within_the_terms_have_is_not_used(at: int, value: int) -> None:
    """Eight devices, weights up to 10: |Σ| ≤ 127 Σ n_k ≤ 10,160. The last entry is the weight, 8 to 80."""
    cohort = Adding(terms_of(8, max_weight=10))
    cohort.more = entry(at, value)
    cohort.levels = {name: np.clip(level, -20, 20) for name, level in cohort.levels.items()}
    failed = cohort.run()
    assert isinstance(failed, Failed)
    assert (failed.refusal.why, failed.spent) == (Why.WRONG_SUM, True)


def test_what_is_within_the_range_of_all_updates_is_not_seen() -> None:
    """The stated bound: one liar moves the sum anywhere in ±m L, and no further."""
    cohort = Adding(terms_of(8))
    cohort.more = entry(3, 700)
    cohort.levels = {name: np.clip(level, -20, 20) for name, level in cohort.levels.items()}
    found = cohort.run()
    assert isinstance(found, Summed)
    assert (found.levels - cohort.expected(found.devices)).tolist() == entry(3, 700)(16).tolist()


@pytest.mark.parametrize("edge", [-127, 127])
def test_the_largest_true_sum_is_used(edge: int) -> None:
    terms = terms_of(8, max_weight=10)
    cohort = Cohort(terms, levels={name: np.full(16, edge) for name in terms.cohort})
    cohort.weights = dict.fromkeys(terms.cohort, 10)
    found = cohort.run()
    assert isinstance(found, Summed)
    assert (found.levels == 80 * edge).all()


class WrongShares(Cohort):
    """A device reveals wrong shares."""

    def receive(self, name: str, message: object) -> None:
        if isinstance(message, Unmask) and name == LIAR:
            wrong = bytes(SHARE_BYTES - 1) + b"\7"
            message = message.model_copy(update={"shares": wrong * (len(message.shares) // SHARE_BYTES)})
        super().receive(name, message)  # type: ignore[arg-type]  # what a cohort sends is a message


def test_a_liar_is_searched_for_once_and_not_for_each_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 secrets are joined once each, and the first once more for each share that is left out: t at most."""
    joined, count = unmasking.joined, [0]

    def counted(shares: dict[int, bytes]) -> bytes | None:
        count[0] += 1
        return joined(shares)

    monkeypatch.setattr(unmasking, "joined", counted)
    cohort = WrongShares(terms_of(20))
    assert isinstance(cohort.run({Phase.INPUT: frozenset({19})}), Summed)
    assert 20 < count[0] <= 20 + cohort.terms.threshold


def test_an_update_that_is_not_finite_or_beyond_the_terms_is_not_masked() -> None:
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="not finite"):
            Ring(8, 10).rounded(np.array([0.0, bad]), 1.0, seed=0)

    class Beyond(Cohort):
        def tell(self, name: str, event: device.Event) -> list:
            if name == LIAR and isinstance(event, UpdateReady):
                for levels, weight in ((128, 1), (-128, 1), (1, 0), (1, 11)):
                    super().tell(name, UpdateReady(np.full(16, levels), weight))
                super().tell(name, UpdateReady(np.zeros(17, np.int64), 1))
            return super().tell(name, event)

    cohort = Beyond(terms_of(6, max_weight=10))
    assert isinstance(cohort.run(), Summed)
    assert [refusal.why for _, refusal in cohort.refused] == [Why.BAD_UPDATE] * 5


def test_random_bytes_of_another_number_are_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="31 random bytes"):
        device.step(Device(LIAR), Announced(terms_of(6), bytes(31)), paper_identities(LIAR))
