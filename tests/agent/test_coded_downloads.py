"""Models in a coded form on a device: put together with the key frame, in any order, or not at all."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from agent.core.events import Fetched, FrameArrived
from agent.core.limits import expected_bytes
from agent.shell.downloads import Downloads
from agent.shell.key_frames import FILE, KeyFrames
from agent.shell.model_file import StoredModel, read, save
from fedge.wire.frames import split
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.models import coded_message, decoded_message, model_message, read_key
from tests.agent.besieged import Device
from tests.fedge.message_examples import EXAMPLES

SEED = 7
BEFORE = np.linspace(-1, 1, 9, dtype=np.float32)
KEY = model_message(RoundId(1, 3), BEFORE)
FORM = coded_message(RoundId(1, 4), {"weights": BEFORE + 1}, "int8", SEED, read_key(KEY))
MODEL = decoded_message(unpack(FORM, Model), SEED, read_key(KEY))


def blob(data: bytes, slot: int = 0) -> Blob:
    return Blob(digest=sha256(data).digest(), slot=slot, frames=len(split(data)), size=len(data))


def manifest(model: bytes = MODEL, form: bytes = FORM, key: bytes | None = KEY) -> Manifest:
    return Manifest(
        generation=1,
        round=5,
        kind="evaluate",
        state="open",
        seed=SEED,
        task=blob(b"task"),
        model=blob(model, 1),
        coded=blob(form, 1),
        key=blob(key) if key is not None else None,
        cohort=Cohort(fraction=1.0, seed=0),
        seconds_left=9.0,
    )


def frame(data: bytes) -> Frame:
    (piece,) = split(data)
    return unpack(piece, Frame)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFrames:
    return KeyFrames(tmp_path / FILE)


def stored(tmp_path: Path, model: bytes) -> StoredModel | None:
    """What the device has in its model file after a restart."""
    save(tmp_path / "model.held", pack(EXAMPLES["task"]), model)
    return read(tmp_path / "model.held")


MADE = Fetched(2.0, "model", sha256(MODEL).digest())


@pytest.mark.parametrize("order", [("model", "key"), ("key", "model")])
def test_a_form_and_its_key_frame_make_the_announced_model(keys: KeyFrames, order: tuple[str, str]) -> None:
    downloads, data = Downloads(None, keys), {"model": FORM, "key": KEY}
    assert downloads.lacks_key(manifest())
    assert downloads.lacks_coded(manifest())
    assert downloads.offer(order[0], frame(data[order[0]]), manifest(), 1.0) == FrameArrived(1.0)
    assert downloads.offer(order[0], frame(data[order[0]]), manifest(), 1.0) is None, "it is there"
    assert (downloads.lacks_key(manifest()), downloads.lacks_coded(manifest())) == (
        order[0] == "model",
        order[0] == "key",
    )
    assert downloads.offer(order[1], frame(data[order[1]]), manifest(), 2.0) == MADE
    assert downloads.model_bytes == MODEL
    assert downloads.vectors["weights"].tobytes() == unpack(MODEL, Model).body


def test_the_model_in_memory_is_the_key_frame_and_is_kept_over_a_restart(
    tmp_path: Path, keys: KeyFrames
) -> None:
    downloads = Downloads(stored(tmp_path, KEY), keys)
    assert not downloads.lacks_key(manifest())
    assert downloads.offer("model", frame(FORM), manifest(), 2.0) == MADE
    assert downloads.model_bytes == MODEL
    again = Downloads(stored(tmp_path, MODEL), KeyFrames(tmp_path / FILE))
    assert not again.lacks_key(manifest()), "the next form may refer to it too"


def test_a_key_frame_that_is_not_the_announced_one_is_fetched(tmp_path: Path, keys: KeyFrames) -> None:
    keys.take(model_message(RoundId(1, 2), BEFORE))
    downloads = Downloads(stored(tmp_path, MODEL), keys)
    assert downloads.lacks_key(manifest())
    (tmp_path / FILE).write_bytes(b"torn")
    assert Downloads(None, KeyFrames(tmp_path / FILE)).lacks_key(manifest())


def test_a_form_in_float16_needs_no_key_frame(keys: KeyFrames) -> None:
    form = coded_message(RoundId(1, 4), {"weights": BEFORE}, "float16", SEED)
    model = decoded_message(unpack(form, Model), SEED)
    told = manifest(model, form, None)
    downloads = Downloads(None, keys)
    assert downloads.offer("model", frame(form), told, 2.0) == Fetched(2.0, "model", sha256(model).digest())
    assert downloads.model_bytes == model


def unreadable(downloads: Downloads, told: Manifest, form: bytes) -> None:
    assert told.model is not None
    found = downloads.offer("model", frame(form), told, 2.0)
    assert found == Fetched(2.0, "model", told.model.digest, unknown=("model:unreadable",))
    assert downloads.vectors == {}


def test_a_form_that_gives_another_model_is_not_used(keys: KeyFrames) -> None:
    keys.take(KEY)
    unreadable(Downloads(None, keys), manifest(KEY), FORM)
    torn = FORM[:-1]
    unreadable(Downloads(None, keys), manifest(MODEL, torn), torn)
    other = coded_message(RoundId(1, 4), {"weights": BEFORE}, "int8", SEED, read_key(KEY))
    unreadable(Downloads(None, keys), manifest(MODEL, other), other)


def test_a_form_of_more_weights_than_the_model_is_refused_before_it_is_decoded(
    keys: KeyFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = coded_message(RoundId(1, 4), {"weights": np.zeros(5_000, np.float32)}, "float16", SEED)
    monkeypatch.setattr("agent.shell.downloads.decoded_message", None)
    unreadable(Downloads(None, keys), manifest(MODEL, large, None), large)


def test_a_form_where_the_model_itself_is_announced_is_not_used(keys: KeyFrames) -> None:
    half = pack(unpack(MODEL, Model).model_copy(update={"key": sha256(KEY).digest()}))
    for data in (FORM, half):
        told = manifest().model_copy(update={"model": blob(data, 1), "coded": None, "key": None})
        unreadable(Downloads(None, keys), told, data)


def test_a_later_codec_is_named(keys: KeyFrames) -> None:
    form = pack(unpack(FORM, Model).model_copy(update={"codec": "int2"}))
    keys.take(KEY)
    told = manifest(MODEL, form)
    found = Downloads(None, keys).offer("model", frame(form), told, 2.0)
    assert found == Fetched(2.0, "model", sha256(MODEL).digest(), unknown=("model:int2",))


def test_a_round_is_expected_to_take_the_bytes_that_are_sent() -> None:
    told = manifest()
    takes = {"task": False, "model": True, "update": False}
    assert expected_bytes(told, **takes) == len(FORM) + len(KEY)
    assert expected_bytes(told, **takes, held=(sha256(KEY).digest(),)) == len(FORM)
    assert expected_bytes(told, task=False, model=False, update=True) == len(MODEL)


def test_a_form_that_waits_makes_no_other_model_than_its_own(keys: KeyFrames) -> None:
    """The key frame comes when the next model is announced already, which refers to it too."""
    downloads = Downloads(None, keys)
    assert downloads.offer("model", frame(FORM), manifest(), 1.0) == FrameArrived(1.0)
    later = coded_message(RoundId(1, 5), {"weights": BEFORE + 2}, "int8", SEED, read_key(KEY))
    model = decoded_message(unpack(later, Model), SEED, read_key(KEY))
    told = manifest(model, later)
    assert downloads.offer("key", frame(KEY), told, 2.0) == FrameArrived(2.0)
    assert downloads.offer("model", frame(later), told, 3.0) == Fetched(3.0, "model", sha256(model).digest())
    assert downloads.model_bytes == model


def test_a_model_that_is_neither_in_float32_nor_a_coded_form_is_not_used(keys: KeyFrames) -> None:
    """One that is used must be able to become a key frame."""
    data = pack(Model(generation=1, round=4, codec="int8", body=bytes(5)))
    told = manifest().model_copy(update={"model": blob(data, 1), "coded": None, "key": None})
    unreadable(Downloads(None, keys), told, data)


def test_after_a_restart_the_key_frame_on_the_disk_is_not_expected_to_be_sent(tmp_path: Path) -> None:
    Device(tmp_path, None)
    (tmp_path / FILE).write_bytes(KEY)
    assert Device(tmp_path, None).runtime._state.key == sha256(KEY).digest()
