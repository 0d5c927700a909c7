"""A device masks its share of noise under the promise that it was made for, and under no other one."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.core.protection import noise_promised
from agent.core.state import MaskedUpdate
from fedge.masking.messages import Advertise
from fedge.masking.noise import NoisyLevels
from fedge.masking.round_messages import Objection
from fedge.privacy.mechanism import Grid
from fedge.wire.freshness import Attempt
from fedge.wire.messages.message import Message
from fedge.wire.messages.protection import Charges, Masks, NoiseShares, Privacy, Protection
from tests.agent.masked_places import MODEL, ROUND, SIZE, Place, call, federation, new_places, terms_of
from tests.agent.test_masked_rounds import give

NAMES = ("pump-1", "pump-2", "pump-3")
LEVELS = NoisyLevels(Grid(1.0, SIZE, 8), Fraction(4), 3, 0, 10, 3)
PRIVACY = Privacy(
    mechanism="distributed", epsilon=8.0, delta=1e-5, unit="device", adjacency="add-remove", clip=1.0,
    noise_multiplier=4.0, cohort=3, rounds=10, shares=NoiseShares(devices=3, size=SIZE, grid_bits=8),
)  # fmt: skip
MASKS = Masks(
    server="lying", cohort=3, threshold=3, value_bits=LEVELS.value_bits, clip=LEVELS.clip, max_weight=1
)
OFFER = Protection(privacy=PRIVACY, masked=MASKS, devices=3)


def having(**privacy: Any) -> Protection:
    return OFFER.model_copy(update={"privacy": PRIVACY.model_copy(update=privacy)})


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return federation(tmp_path_factory.mktemp("noise"), NAMES)


@pytest.fixture
def places(homes: dict[str, Path]) -> Iterator[dict[str, Place]]:
    found = new_places(homes)
    yield found
    for place in found.values():
        place.memory.close()


def answer(places: dict[str, Place], promised: bytes, announced: Protection) -> Message:
    """What a device sends that kept its update under one promise, and is called under another."""
    place = places["pump-1"]
    levels = place.levels.astype("<i2").tobytes()
    update = MaskedUpdate(ROUND, MODEL, LEVELS.value_bits, LEVELS.clip, 1, levels, b"", promised)
    place.memory.save_update(Attempt(ROUND, 0), b"d" * 32, b"payload", masked=update)
    assert place.memory.masked() == update, "it is kept on the disk"
    place.agent = SimpleNamespace(
        manifest=SimpleNamespace(
            kind="masked", generation=ROUND.generation, round=ROUND.round, protection=announced
        )
    )
    place.start()
    terms = terms_of(NAMES, value_bits=LEVELS.value_bits, clip=LEVELS.clip)
    (sent,) = give(place, call(terms, places))
    return sent


def test_the_same_promise_is_enough_also_after_more_releases(places: dict[str, Place]) -> None:
    announced = having(witness=Charges(number=7, digest="d" * 64))
    assert isinstance(answer(places, noise_promised(OFFER), announced), Advertise)


@pytest.mark.parametrize(
    "made_under",
    [
        having(shares=NoiseShares(devices=57, size=SIZE, grid_bits=8)),
        having(noise_multiplier=2.0),
        OFFER.model_copy(update={"masked": MASKS.model_copy(update={"threshold": 67, "cohort": 100})}),
        OFFER.model_copy(update={"privacy": None}),
    ],
    ids=["smaller shares", "less noise", "more devices", "none"],
)
def test_under_another_promise_the_update_is_not_masked(
    places: dict[str, Place], made_under: Protection
) -> None:
    told = answer(places, noise_promised(made_under), OFFER)
    assert isinstance(told, Objection)
    assert (told.why, "promised otherwise" in told.detail) == ("other_terms", True)


def test_a_promise_that_is_taken_back_is_another_one(places: dict[str, Place]) -> None:
    told = answer(places, noise_promised(OFFER), OFFER.model_copy(update={"privacy": None}))
    assert isinstance(told, Objection)
