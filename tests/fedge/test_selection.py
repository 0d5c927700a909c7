"""Both sides choose the same devices, as many as the fraction says, and all of them at 1."""

import hashlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.wire.messages.manifest import Cohort
from fedge.wire.selection import chosen, chosen_of

devices = st.from_regex(r"[a-z0-9][a-z0-9-]{0,35}", fullmatch=True)
counters = st.integers(0, 2**31 - 1)
seeds = st.integers(0, 2**63 - 1)


@given(seeds, counters, counters, counters, devices, st.floats(0, 1, exclude_min=True))
def test_the_rule_as_the_protocol_states_it(
    seed: int, generation: int, number: int, attempt: int, device: str, fraction: float
) -> None:
    text = f"{generation}|{number}|{attempt}|{seed}|{device}"
    drawn = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16)
    floor = Fraction(fraction) * 2**64 // 1
    assert chosen(Cohort(fraction=fraction, seed=seed), generation, number, attempt, device) == (
        drawn < floor
    )


@given(seeds, counters, devices)
def test_a_fraction_of_one_chooses_everybody(seed: int, number: int, device: str) -> None:
    assert chosen(Cohort(fraction=1.0, seed=seed), 1, number, 0, device)


def test_of_a_whole_fleet_the_same_devices_are_chosen_in_their_order() -> None:
    fleet = [f"pi-{number}" for number in range(300)]
    for fraction in (2.0**-64, 0.3, 1.0):
        cohort = Cohort(fraction=fraction, seed=3)
        assert chosen_of(cohort, 1, 2, 0, fleet) == [d for d in fleet if chosen(cohort, 1, 2, 0, d)]
    assert chosen_of(Cohort(fraction=1.0, seed=3), 1, 2, 0, fleet) == fleet


def test_the_bound_itself_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """At fraction 1/2 the bound is 2⁶³: a hash of 7fff… is in, one of 8000… is not."""

    class Drawn:
        def __init__(self, value: int) -> None:
            self.value = value

        def __call__(self, text: bytes) -> "Drawn":
            return self

        def digest(self) -> bytes:
            return self.value.to_bytes(8, "big") + bytes(24)

    for value, expected in ((2**63 - 1, True), (2**63, False)):
        monkeypatch.setattr("fedge.wire.selection.hashlib.sha256", Drawn(value))
        assert chosen(Cohort(fraction=0.5, seed=0), 1, 1, 0, "a") is expected


def test_the_tenth_of_a_fleet_is_about_a_tenth_and_another_one_each_time() -> None:
    """10,000 draws of probability 0.1: standard deviation 30, so 5 of them are 150."""
    cohort = Cohort(fraction=0.1, seed=7)
    fleet = [f"pi-{i}" for i in range(10_000)]
    first = {device for device in fleet if chosen(cohort, 1, 1, 0, device)}
    assert abs(len(first) - 1_000) < 150
    for other in ((1, 2, 0), (2, 1, 0), (1, 1, 1)):
        again = {device for device in fleet if chosen(cohort, *other, device)}
        assert abs(len(first & again) - 100) < 50  # independent: 1 in 100 is in both, deviation 10
    reseeded = {d for d in fleet if chosen(Cohort(fraction=0.1, seed=8), 1, 1, 0, d)}
    assert reseeded != first


def test_a_wider_fraction_keeps_everybody_who_was_in() -> None:
    fleet = [f"pi-{i}" for i in range(500)]
    narrow, wide = (Cohort(fraction=fraction, seed=3) for fraction in (0.2, 0.6))
    assert all(chosen(wide, 1, 4, 0, device) for device in fleet if chosen(narrow, 1, 4, 0, device))
