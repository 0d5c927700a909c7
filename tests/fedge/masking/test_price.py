"""The bytes of a masked round, from packed messages and frames as they travel."""

from collections import Counter

import numpy as np
import pytest

from benchmarks.masked_cohort import Cohort, paper_identities, terms_of
from benchmarks.masked_costs import Cost, Metered, cost, framed, whole
from benchmarks.masked_losses import outcomes
from benchmarks.masking import MOST_BYTES, table
from fedge.masking import ciphers
from fedge.masking.device_state import Identity
from fedge.masking.messages import (
    ADVERTISED_BYTES,
    SEALED_BYTES,
    Advertise,
    Agreement,
    Consistency,
    Delivery,
    MaskedInput,
    Roster,
    Share,
    Survivors,
    Unmask,
)
from fedge.masking.ring import Ring
from fedge.masking.round_messages import Call
from fedge.masking.server_state import Summed

DEVICES, SIZE = 100, 200_000


@pytest.fixture(scope="module")
def price() -> Cost:
    return cost(DEVICES, SIZE, DEVICES // 20)


@pytest.mark.slow
def test_int8_of_a_hundred_devices_takes_16_bits_and_2_1_times_the_bytes(price: Cost) -> None:
    """8 + ⌈log2 100⌉ = 15 bits, 2 bytes a value; keys, shares, signatures, msgpack and frames on top.

    The open update: 200,000 levels and 391 steps of 4 bytes. A device sends 400,000 bytes of values, 42
    sealed shares of 82 bytes and at most 43 revealed ones of 33, 192 bytes of keys and signatures of 64.
    """
    assert (price.bits, price.neighbours) == (16, 42)
    assert SIZE + 4 * 391 < price.open.sent < 1.01 * SIZE
    inner = 2 * SIZE + 42 * SEALED_BYTES + 43 * 33 + ADVERTISED_BYTES + 3 * 64
    assert inner < price.masked.sent < inner + 2_000
    assert price.sent <= MOST_BYTES


@pytest.mark.slow
def test_what_a_device_receives_is_a_fifth_of_what_it_sends(price: Cost) -> None:
    """100 rows of keys and signatures and certificates of 350 to 420 bytes, 42 sealed shares, 42 and 67 or
    more signatures, the terms."""
    inner = 100 * (ADVERTISED_BYTES + 64) + 42 * SEALED_BYTES + (37 + 67) * 64
    assert inner + 100 * 350 < price.masked.received < inner + 100 * 420 + 12_000
    assert price.masked.received < price.masked.sent / 5


def test_how_many_signatures_a_device_checks_and_keys_it_agrees_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20 devices, t = 14: 19 of keys and 13 of survivors, its own not; one agreement for each key.

    It signs three times.
    """
    counted = Counter[str]()

    def counting(name: str) -> Identity:
        paper = paper_identities(name)

        def verify(who: str, data: bytes, signature: bytes) -> bool:
            counted[name] += 1
            return paper.verify(who, data, signature)

        def sign(data: bytes) -> bytes:
            counted[f"signed by {name}"] += 1
            return paper.sign(data)

        return Identity(sign, verify)

    def agree(secret: bytes, others: list[tuple[bytes, bytes]], size: int = 32) -> list[bytes | None]:
        counted["agreed"] += len(others)
        return agreed(secret, others, size)

    agreed = ciphers.agreed
    monkeypatch.setattr(ciphers, "agreed", agree)
    cohort = Cohort(terms_of(20), identities=counting)
    cohort.verify = paper_identities("").verify
    assert isinstance(cohort.run(), Summed)
    assert counted["d0000"] == counted["d0013"] == 19 + 13
    assert counted["d0014"] == counted["d0019"] == 19 + 14, "it is not among the signers"
    assert counted["signed by d0000"] == 3
    assert counted["agreed"] == 20 * 2 * 19 + 20 * 2, "the server looks at each key for weak ones"


def test_the_bytes_are_those_of_every_message_of_an_attempt() -> None:
    """Counted apart: what is packed and framed, of each kind."""
    counted: dict[type, int] = {}

    class Kinds(Metered):
        def _server(self, name: str, frames, kind) -> None:  # type: ignore[no-untyped-def]  # as the parent
            if name == "d0000":
                counted[kind] = sum(map(len, frames))
                assert whole(frames) == whole(framed(whole(frames)))
            super()._server(name, frames, kind)

        def _told(self, event) -> list[bytes]:  # type: ignore[no-untyped-def]  # as the parent
            frames = super()._told(event)
            counted[type(getattr(event, "message", self.call))] = sum(map(len, frames))
            return frames

    cohort = Kinds(terms_of(7, size=1_000, clip=0.05))
    cohort.run()
    up = {Advertise, Share, MaskedInput, Consistency, Unmask}
    down = {Call, Roster, Delivery, Survivors, Agreement}
    assert counted.keys() == up | down
    assert cohort.sent["d0000"] == sum(counted[kind] for kind in up)
    assert cohort.received["d0006"] == sum(counted[kind] for kind in down)


def test_three_bytes_a_value_from_257_devices_on() -> None:
    assert [Ring(8, n).width for n in (256, 257, 1_000)] == [2, 3, 3]
    body = Ring(8, 1_000).packed(np.zeros(SIZE, np.uint32))
    assert len(body) == 3 * SIZE


def test_every_number_of_losses_in_every_phase_of_a_few_devices() -> None:
    """For three numbers: t = ⌊2n/3⌋ + 1, and n - t + 2 numbers of losses in 5 phases."""
    for devices in (3, 5, 11):
        found = outcomes(devices)
        borne = devices - terms_of(devices).threshold
        assert len(found) == 5 * (borne + 2)
        assert [each.wrong for each in found] == [""] * len(found)
        assert all(each.summed == (each.lost <= borne) for each in found)


@pytest.mark.slow
def test_the_table_has_a_row_for_each(price: Cost) -> None:
    assert len(table([price, price], {"short": 0.03}).splitlines()) == 4
    assert price.cpu(1e9) == pytest.approx(1)
    assert price.cpu(0.1) < price.cpu(0.01) < price.cpu()
