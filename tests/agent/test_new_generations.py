"""A generation that begins anew has weights that nobody has trained: `predict` does not answer with them."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from agent.cli.predict import predict
from agent.shell import model_file
from fedge.algorithms.codecs import float32
from fedge.errors import DamagedState
from fedge.nn import first_weights
from fedge.wire.frames import split
from fedge.wire.messages.envelope import seal
from fedge.wire.messages.message import pack
from fedge.wire.messages.model import Model
from tests.agent import besieged
from tests.agent.besieged import FRAME_BYTES, LAB, TASK, Device, blob, manifest

SEED = 1
"""Of the manifests."""


def untrained(generation: int) -> bytes:
    body = float32.encode(first_weights(TASK.network, SEED, generation))
    return pack(Model(generation=generation, round=0, body=body))


def announced(message: bytes, round_: int, generation: int) -> dict[str, bytes]:
    """A round's retained messages, with another model than the round's own."""
    pieces, slot = split(message, FRAME_BYTES), round_ % 2
    says = manifest(round_, generation, model=blob(message, slot))
    task = split(pack(TASK), FRAME_BYTES)
    return {
        **{LAB.task(0, i): task[i] for i in range(len(task))},
        **{LAB.model(slot, i): pieces[i] for i in range(len(pieces))},
        LAB.round: seal(says),
    }


def trained(round_: int, generation: int) -> dict[str, bytes]:
    return {**besieged.frames(round_, generation), LAB.round: seal(manifest(round_, generation))}


def answered(device: Device, folder: Path) -> tuple[int, int]:
    """The generation and the round of the model that `predict` answers with."""
    file = folder / "rows.csv"
    file.write_text("u,v\n1,2\n")
    out = io.StringIO()
    predict(device.settings, file, out, as_json=True)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found["generation"], found["round"]


@pytest.mark.parametrize("restarted", [False, True])
def test_the_model_before_stays_in_use_until_somebody_has_trained(tmp_path: Path, *, restarted: bool) -> None:
    device = Device(tmp_path, None)
    device.hears(trained(7, 1))
    assert answered(device, tmp_path) == (1, 7)
    device.hears(announced(untrained(2), 1, 2))  # round 2.1 begins with it
    assert device.holds == untrained(2)
    if restarted:
        device.restart()
    assert answered(device, tmp_path) == (1, 7)
    device.hears(announced(untrained(3), 1, 3))  # and begins anew once more
    assert (device.holds, answered(device, tmp_path)) == (untrained(3), (1, 7))
    device.hears(trained(2, 3))
    assert answered(device, tmp_path) == (3, 2)
    if restarted:
        device.restart()
    assert answered(device, tmp_path) == (3, 2)
    assert not (device.folder / model_file.USED).exists()


def test_a_generation_that_begins_with_a_good_model_is_used_at_once(tmp_path: Path) -> None:
    """Who goes back from a bad model wants it replaced."""
    device = Device(tmp_path, None)
    device.hears(trained(7, 1))
    good = pack(Model(generation=2, round=0, body=bytes(4 * TASK.network.schema.size)))
    device.hears(announced(good, 1, 2))
    assert answered(device, tmp_path) == (2, 0)


def test_a_good_model_of_round_0_is_used_though_the_device_ended_before_it_put_the_other_away(
    tmp_path: Path,
) -> None:
    """Nothing may follow it: the file of the model before must not stay in use for ever."""
    device = Device(tmp_path, None)
    device.hears(trained(7, 1))
    device.hears(announced(untrained(2), 1, 2))
    assert answered(device, tmp_path) == (1, 7)
    good = pack(Model(generation=3, round=0, body=bytes(4 * TASK.network.schema.size)))
    model_file.save(device.folder / model_file.FILE, pack(TASK), good)
    assert (device.folder / model_file.USED).exists()
    assert answered(device, tmp_path) == (3, 0)


def test_a_device_that_holds_no_model_yet_has_the_first_weights(tmp_path: Path) -> None:
    device = Device(tmp_path, None)
    device.hears(announced(untrained(1), 1, 1))
    assert answered(device, tmp_path) == (1, 0)


def test_no_changed_bit_of_the_file_changes_what_it_says(tmp_path: Path) -> None:
    """What was told with a model has a digest of its own, as task and model have."""
    file = tmp_path / model_file.FILE
    model_file.save(file, pack(TASK), untrained(2), 1_000, untrained=True)
    whole, right = file.read_bytes(), model_file.read(file)
    assert right is not None
    assert (right.max_samples, right.untrained) == (1_000, True)
    silent = []
    for offset in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[offset] ^= 0x10
        file.write_bytes(bytes(spoilt))
        try:
            if model_file.read(file) != right:
                silent.append(offset)
        except DamagedState:
            continue
    assert silent == []
