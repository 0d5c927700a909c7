"""The coded form of announced models: error feedback by hand, and when the key frame changes."""

import numpy as np

from aggregator.aggregation.downlink import Before, Coding, coded, key_for
from fedge.wire.freshness import RoundId
from fedge.wire.messages.message import unpack
from fedge.wire.messages.model import Model
from fedge.wire.models import Key, decoded, decoded_message, model_message, read_key

SEED = 11
KEY_EVERY = 4


def vector(*entries: float) -> np.ndarray:
    return np.array(entries, np.float32)


def key_at(number: int, *entries: float) -> Key:
    return read_key(model_message(RoundId(1, number), vector(*entries)))


def test_the_error_of_one_announcement_is_told_with_the_next() -> None:
    """In binary16 the entries from 2 on are whole multiples of 2^-9. The master moves by 2^-11 a round.

    2 + 2^-11 rounds to 2, and leaves 2^-11. With the next step 2^-11 the master is 2 + 2^-10, halfway, which
    rounds to the even one, 2; with the third it is 2 + 3·2^-11, which rounds to 2 + 2^-9, and leaves -2^-11.
    """
    step, announced, errors = 2**-11, 2.0, {}
    seen = []
    for number in range(1, 5):
        made = {"weights": vector(announced + step)}
        found = coded(RoundId(1, number), made, "float16", SEED, errors, None)
        assert found is not None
        announced, errors = float(found.vectors["weights"][0]), found.errors
        seen.append((announced - 2, float(errors["weights"][0])))
    assert seen == [
        (0.0, 2**-11),
        (0.0, 2**-10),
        (2**-9, -(2**-11)),
        (2**-9, 0.0),
    ]


def test_steps_below_the_codecs_step_are_not_lost_and_errors_do_not_add_up() -> None:
    """One entry has moved by 127 since the key frame, so the step of int8 is 1; the others move by 2^-5.

    After 64 rounds they have moved by 2 as the master has, and what is announced is at most one step off.
    Without feedback the decoded value would be a random walk around its start with no memory: the sum of what
    is left out is the master's move less what is announced, which one step bounds.
    """
    key = key_at(0, 0, *[0.0] * 40)
    announced, errors = vector(127, *[0.0] * 40), {}
    for number in range(1, 65):
        made = announced + vector(0, *[2**-5] * 40)
        found = coded(RoundId(1, number), {"weights": made}, "int8", SEED, errors, key)
        assert found is not None
        announced, errors = found.vectors["weights"], found.errors
        master = announced + errors["weights"]
        assert master.tolist() == [127] + [number * 2**-5] * 40
        assert np.abs(errors["weights"]).max() <= 1
    assert set(announced[1:].tolist()) <= {1.0, 2.0, 3.0}
    assert abs(float(announced[1:].mean()) - 2) < 0.5


def _round(number: int, made: np.ndarray, before: Before, base: Key, codec: str) -> Coding:
    here = RoundId(1, number)
    key = key_for(here, codec, KEY_EVERY, before, base)
    found = coded(here, {"weights": made}, codec, SEED, before.errors, key)
    assert found is not None
    return found


def test_a_device_that_holds_each_model_needs_no_key_frame_besides_and_decodes_the_same_bits() -> None:
    draws = np.random.default_rng(1)
    first = draws.normal(size=300).astype(np.float32)
    held = {0: model_message(RoundId(1, 0), first)}
    before, base = Before(), read_key(held[0])
    keys = []
    for number in range(1, 2 * KEY_EVERY + 3):
        made = base.vectors["weights"] + draws.normal(scale=0.01, size=300).astype(np.float32)
        found = _round(number, made, before, base, "int4")
        assert found.key is not None
        keys.append(found.key.round.round)
        on_device = read_key(held[found.key.round.round])  # what it has decoded in an earlier round
        assert on_device.digest == found.key.digest
        message = unpack(found.data, Model)
        told = decoded(message, SEED, on_device)["weights"]
        assert told.tobytes() == found.vectors["weights"].tobytes()
        held[number] = decoded_message(message, SEED, on_device)
        before, base = Before(found.errors, found.key), read_key(held[number])
    assert keys == [0] * KEY_EVERY + [KEY_EVERY] * KEY_EVERY + [2 * KEY_EVERY] * 2


def test_a_new_generation_and_another_codec_begin_with_the_base_as_key_frame() -> None:
    base, old = key_at(4, 1.0), read_key(model_message(RoundId(1, 3), vector(2.0)))
    assert key_for(RoundId(1, 5), "int8", KEY_EVERY, Before(), base) is base
    assert key_for(RoundId(1, 5), "int8", KEY_EVERY, Before({}, old), base) is old
    assert key_for(RoundId(2, 5), "int8", KEY_EVERY, Before({}, old), base) is base
    assert key_for(RoundId(1, 5), "float16", KEY_EVERY, Before({}, old), base) is None


def test_a_model_whose_form_is_not_usable_is_not_coded() -> None:
    """3e38 - (-3e38) exceeds the largest float32, and so does no whole vector in binary16."""
    here, made = RoundId(1, 5), {"weights": vector(3e38)}
    assert coded(here, made, "int8", SEED, {}, key_at(4, -3e38)) is None
    assert coded(here, made, "int8", SEED, {}, key_at(4, 1.0)) is not None
    assert coded(here, made, "int8", SEED, {}, key_at(4, 1.0), lambda name, _: name != "weights") is None
    found = coded(here, made, "float16", SEED, {}, None)
    assert found is not None
    assert found.vectors["weights"].tolist() == [65504]  # and the rest is left for the rounds to come
