"""Coded forms of a model: their bytes by hand, and what must be refused."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.errors import ProtocolError
from fedge.frozen import replace
from fedge.wire.freshness import RoundId
from fedge.wire.messages.message import unpack
from fedge.wire.messages.model import Model
from fedge.wire.models import Key, coded_message, decoded, decoded_message, model_message, read_key
from fedge.wire.reasons import Reason

KEY_ROUND, HERE, SEED = RoundId(1, 3), RoundId(1, 5), 7


def vector(*entries: float) -> np.ndarray:
    return np.array(entries, np.float32)


def key_of(weights: np.ndarray, more: Mapping[str, np.ndarray] | None = None) -> Key:
    return read_key(model_message(KEY_ROUND, weights, more))


def form(vectors: Mapping[str, np.ndarray], codec: str, key: Key | None = None) -> Model:
    return unpack(coded_message(HERE, vectors, codec, SEED, key), Model)


def lists(vectors: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: each.tolist() for name, each in vectors.items()}


def test_a_form_in_int8_holds_the_change_since_its_key_frame() -> None:
    """The change is (127, -64): the step is 1, and whole steps are kept by any seed."""
    key = key_of(vector(1, 2))
    found = form({"weights": vector(128, -62)}, "int8", key)
    assert found.body == bytes.fromhex("0000803f 7f c0")
    assert (found.key, found.size, found.codec) == (key.digest, 2, "int8")
    assert lists(decoded(found, SEED, key)) == {"weights": [128, -62]}


def test_a_form_in_float16_holds_the_whole_vectors() -> None:
    """1.5 is 0x3e00 and -2 is 0xc000 in binary16; 1 + 2^-12 is halfway below 1 + 2^-11 and becomes 1."""
    found = form({"weights": vector(1.5, -2), "control": vector(1 + 2**-12, 0)}, "float16")
    assert (found.key, found.size, found.body) == (None, 2, bytes.fromhex("003e 00c0"))
    assert lists(decoded(found, SEED)) == {"weights": [1.5, -2], "control": [1, 0]}


def test_a_form_stands_for_the_message_in_float32() -> None:
    key = key_of(vector(1, 2), {"control": vector(0, 5)})
    vectors = {"weights": vector(128, -62), "control": vector(7, 5)}
    whole = decoded_message(form(vectors, "int4", key), SEED, key)
    told = decoded(form(vectors, "int4", key), SEED, key)
    assert whole == model_message(HERE, told["weights"], {"control": told["control"]})
    assert told["control"].tolist() == [7, 5]  # the change (7, 0) is whole steps


def test_a_vector_that_the_key_frame_lacks_is_coded_from_zeros() -> None:
    key = key_of(vector(1, 2))
    found = form({"weights": vector(1, 2), "control": vector(127, -1)}, "int8", key)
    assert lists(decoded(found, SEED, key)) == {"weights": [1, 2], "control": [127, -1]}


def test_the_rounding_of_each_round_and_vector_has_a_seed_of_its_own() -> None:
    key, entries = key_of(np.zeros(64, np.float32)), np.linspace(-1, 1, 64, dtype=np.float32)
    first = coded_message(HERE, {"weights": entries, "control": entries}, "int8", SEED, key)
    message = unpack(first, Model)
    assert message.vectors is not None
    assert message.vectors["control"] != message.body
    assert coded_message(HERE, {"weights": entries, "control": entries}, "int8", SEED, key) == first
    for other in (RoundId(1, 6), RoundId(2, 5)):
        assert (
            unpack(coded_message(other, {"weights": entries}, "int8", SEED, key), Model).body != message.body
        )
    assert unpack(coded_message(HERE, {"weights": entries}, "int8", 8, key), Model).body != message.body


def _refused(message: Model, key: Key | None) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        decoded(message, SEED, key)
    return caught.value


def test_a_form_is_refused_with_another_key_frame_than_its_own() -> None:
    key = key_of(vector(1, 2))
    message = form({"weights": vector(3, 4)}, "int8", key)
    assert "key frame" in str(_refused(message, None))
    assert "key frame" in str(_refused(message, key_of(vector(1, 3))))
    assert "generation" in str(_refused(message.model_copy(update={"generation": 2}), key))
    shorter = replace(key_of(vector(1)), digest=key.digest)
    assert _refused(message, shorter).reason is Reason.WRONG_LENGTH


def test_a_form_that_contradicts_itself_is_refused() -> None:
    key = key_of(vector(1, 2))
    message = form({"weights": vector(3, 4)}, "int8", key)
    for changed in (
        {"size": None},
        {"size": 3},
        {"key": None},
        {"codec": "float16"},
        {"codec": "topk"},
        {"body": message.body[:-1]},
        {"vectors": {"control": message.body + b"x"}},
    ):
        _refused(message.model_copy(update=changed), key)


def test_a_coded_form_is_no_key_frame() -> None:
    for data in (
        coded_message(HERE, {"weights": vector(1)}, "float16", SEED),
        coded_message(HERE, {"weights": vector(1, 2)}, "int8", SEED, key_of(vector(1, 2))),
        model_message(HERE, vector(1, 2))[:-3],
        model_message(HERE, vector(1), {"control": vector(1, 2)}),
    ):
        with pytest.raises(ProtocolError):
            read_key(data)


@given(data=st.data(), codec=st.sampled_from(["float16", "int8", "int4"]))
def test_mutated_forms_decode_or_raise_a_protocol_error(data: st.DataObject, codec: str) -> None:
    key = key_of(vector(1, 2, 3)) if codec != "float16" else None
    payload = bytearray(coded_message(HERE, {"weights": vector(1, 3, 5)}, codec, SEED, key))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decoded(unpack(bytes(payload), Model), SEED, key)
    except ProtocolError:
        return
    assert {len(each) for each in found.values()} == {3}
