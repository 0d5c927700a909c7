"""Every message: there and back, frozen bytes of version 1, and what a later version adds."""

import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedge.errors import ProtocolError
from fedge.wire import encoding, messages
from fedge.wire.capabilities import unknown_in_task
from fedge.wire.messages.envelope import Signed, seal, unseal
from fedge.wire.messages.kinds import KINDS
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import Message, pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Status
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from tests.fedge.message_examples import EXAMPLES, GOLDEN, changed, examples, kinds, payloads
from tests.fedge.message_strategies import STRATEGIES

# Golden files: the bytes of version 1, for ever. A new field gets a new file beside the old one.


@examples
def test_the_frozen_bytes_of_version_1_are_still_written(name: str) -> None:
    assert pack(EXAMPLES[name]) == (GOLDEN / f"{name}.msgpack").read_bytes()


@examples
def test_the_frozen_bytes_of_version_1_are_still_read(name: str) -> None:
    message = EXAMPLES[name]
    assert unpack((GOLDEN / f"{name}.msgpack").read_bytes(), type(message)) == message


def test_a_manifest_whose_cohort_names_devices_is_still_read() -> None:
    """Version 1 could say so, and no aggregator ever has."""
    fields = msgpack.unpackb((GOLDEN / "round.msgpack").read_bytes())
    fields["cohort"]["devices"] = ["pi-1", "pi-2"]
    assert unpack(msgpack.packb(fields), Manifest) == EXAMPLES["round"]


def test_every_type_has_its_frozen_bytes() -> None:
    assert {path.stem for path in GOLDEN.glob("*.msgpack")} == set(EXAMPLES)
    assert {type(message) for message in EXAMPLES.values()} == set(KINDS.values())
    assert len(KINDS) == 27


def below(kind: type[Message]) -> Iterator[type[Message]]:
    """All kinds that are made of this one."""
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


def test_every_kind_is_in_the_registry_under_a_name_of_its_own() -> None:
    for module in pkgutil.iter_modules(messages.__path__, "fedge.wire.messages."):
        import_module(module.name)
    there = {
        kind for kind in below(Message) if kind.__module__.startswith("fedge.") and hasattr(kind, "TYPE")
    }
    assert set(KINDS.values()) == there
    assert all(name == kind.TYPE for name, kind in KINDS.items())


@kinds
@settings(max_examples=40)
@given(data=st.data())
def test_what_was_packed_is_unpacked(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(STRATEGIES[kind])
    payload = pack(message)
    assert unpack(payload, kind) == message
    assert pack(unpack(payload, kind)) == payload


@examples
def test_the_envelope_is_put_on_and_taken_off(name: str) -> None:
    message = EXAMPLES[name]
    sealed = seal(message)
    assert unseal(sealed, type(message)) == message
    assert unpack(sealed, Signed) == Signed(body=pack(message), sigs=())


@examples
def test_unknown_fields_are_ignored(name: str) -> None:
    fields = encoding.decode(payloads[name]) | {"added_in_v1": {"later": [1, 2]}}
    assert unpack(encoding.encode(fields), type(EXAMPLES[name])) == EXAMPLES[name]


def test_a_reason_added_later_does_not_spoil_the_message() -> None:
    receipt = unpack(changed("receipt_refused", reason="too_sunny", detail="cloudless"), Receipt)
    assert (receipt.verdict, receipt.reason, receipt.detail) == ("refused", Reason.OTHER, "cloudless")
    status = encoding.decode(payloads["status"])
    status["declined"] |= {"reason": "too_sunny"}
    declined = unpack(encoding.encode(status), Status).declined
    assert declined is not None
    assert declined.reason is Reason.OTHER


@pytest.mark.parametrize(
    ("name", "kind", "fields"),
    [
        ("update", Update, {"codec": "topk", "kind": "masked-delta"}),
        ("model", Model, {"codec": "topk"}),
        ("round", Manifest, {"kind": "evaluate", "state": "frozen"}),
    ],
)
def test_a_name_added_later_is_read_as_it_stands(name: str, kind: type[Message], fields: Any) -> None:
    message = unpack(changed(name, **fields), kind)
    assert {field: getattr(message, field) for field in fields} == fields


def test_of_an_unknown_plan_field_its_name_is_kept_and_nothing_else() -> None:
    plan = encoding.decode(payloads["round"])["plan"]
    read = unpack(changed("round", plan=plan | {"proximal": [0.1] * 1_000, "nothing": None}), Manifest).plan
    assert read is not None
    assert (read.unknown, read.model_extra) == (("proximal",), {"proximal": True})


def test_of_an_unknown_network_all_names_are_read() -> None:
    layers = [{"type": "conv1d", "kernel": 3}, {"type": "dense", "units": 2, "groups": 4}]
    network = {"inputs": 2, "layers": layers, "loss": "huber", "skip": [0, 1]}
    task = unpack(changed("task", network=network), Task)
    assert unknown_in_task(task) == ("layer:conv1d", "layer:dense.groups", "loss:huber", "network:skip")
    with pytest.raises(ValueError, match="newer"):
        _ = task.network.schema


def test_messages_are_cheap_to_import() -> None:
    """A device reads them; what only the aggregator needs stays out."""
    code = "import sys, fedge.wire.messages.kinds, fedge.wire.frames; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"onnx", "onnxruntime", "plotly", "typer", "rich", "safetensors", "sklearn", "sqlite3", "asyncio"}
    assert not heavy & set(loaded.split())
    assert "paho" not in loaded
    assert "cryptography" not in loaded


FULLEST: dict[str, dict[str, Any]] = {
    "update": {"metrics": {f"m{i}": 0.0 for i in range(32)}},
    "survey": {
        "metrics": {f"m{i}": 0.0 for i in range(32)},
        "classes": [{"name": f"c{k}", "rows": 5} for k in range(100)],
    },
    "status": {"can": [f"codec:c{i}" for i in range(256)]},
    "receipt_retry": {"missing": list(range(4_096))},
    "signed_by_a_successor": {
        "sigs": [b"s"] * 8,
        "chain": [{"old": b"o" * 32, "new": b"n" * 32, "sig": b"c"}] * 16,
    },
    "masking_terms": {"cohort": [f"d{k:04d}" for k in range(1_000)]},
    "masking_call": {"certificates": [b"c"] * 1_000},
    "task": {
        "features": ["a", "b"],
        "classes": [f"c{k}" for k in range(encoding.MAX_LENGTH)],
        "network": {
            "inputs": 2,
            "layers": [{"type": "dense", "units": encoding.MAX_LENGTH}],
            "loss": "cross-entropy",
        },
    },
}
"""What is longest in a message, as long as its fields allow."""


@pytest.mark.parametrize("name", FULLEST)
def test_the_fullest_message_and_twenty_fields_more_are_within_the_limit_on_values(name: str) -> None:
    later = {f"later_{i}": i for i in range(20)}
    unpack(changed(name, **FULLEST[name], **later), type(EXAMPLES[name]), max_bytes=2_000_000)


@kinds
def test_one_value_more_than_a_kind_may_hold_is_refused(kind: type[Message]) -> None:
    """The map, two keys, version, type, a third key and its array are 7 values; as many more fill it up."""
    for more, word in ((0, ":"), (1, str(kind.MAX_VALUES))):
        left = kind.MAX_VALUES - 7 + more
        lists = [[1] * 60_000] * (left // 60_001) + [[1] * (left % 60_001 - 1)]
        payload = encoding.encode({"v": 1, "type": kind.TYPE, "extra": lists})
        with pytest.raises(ProtocolError) as caught:
            unpack(payload, kind, max_bytes=300_000)
        assert caught.value.reason is Reason.MALFORMED
        assert ("values" in str(caught.value)) == bool(more)
        assert word in str(caught.value)
