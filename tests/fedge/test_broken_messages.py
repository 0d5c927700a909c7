"""What is not a message of ours: each is refused by the name of what is wrong in it."""

import re
from typing import Any

import pytest

from fedge.errors import ProtocolError
from fedge.wire import encoding
from fedge.wire.messages.envelope import Signed, seal, unseal
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import Message, pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason
from tests.fedge.message_examples import EXAMPLES, TASK_BLOB, changed, kinds, payloads, refusal


@kinds
def test_fault_67_another_version_is_told_from_garbage(kind: type[Message]) -> None:
    error = refusal(changed(kind.TYPE, v=2), kind)
    assert error.reason is Reason.UNKNOWN_VERSION
    assert {"2", "1"} <= set(re.findall(r"\d+", str(error))), "which version it is, and which one is spoken"


@pytest.mark.parametrize("version", [True, 1.0, "1", None, [1], "x" * 60_000], ids=lambda v: repr(v)[:9])
def test_fault_67_a_version_that_is_no_number(version: object) -> None:
    error = refusal(changed("status", v=version), Status)
    assert error.reason is Reason.MALFORMED
    assert str(error).startswith("status: 'v' ")
    assert len(str(error)) < 100


def test_fault_67_no_version_at_all() -> None:
    assert str(refusal(changed("status", v=...), Status)).startswith("status: 'v' ")


NETWORK = encoding.decode(payloads["task"])["network"]
HUGE = [{"type": "dense", "units": 65_536}, {"type": "dense", "units": 65_536}, {"type": "dense", "units": 2}]

BROKEN: dict[str, tuple[Any, ...]] = {
    "missing_field": ("model", {"body": ...}, "body"),
    "text_for_bytes": ("model", {"body": "abc"}, "body"),
    "text_for_number": ("model", {"round": "7"}, "round"),
    "truth_for_number": ("model", {"round": True}, "round"),
    "number_for_truth": ("status", {"online": 1}, "online"),
    "fraction_for_number": ("model", {"round": 7.0}, "round"),
    "negative": ("model", {"round": -1}, "round", "0"),
    "beyond_the_counter": ("model", {"round": 2**31}, "round", "2147483647"),
    "generation_0": ("model", {"generation": 0}, "generation"),
    "60_big_endian_codec": ("model", {"codec": ">f4"}, "codec"),
    "a_codec_of_41_characters": ("update", {"codec": "x" * 41}, "codec"),
    "a_capability_without_its_registry": ("status", {"can": ("topk",)}, "can.0"),
    "257_capabilities": ("status", {"can": tuple(f"codec:c{i}" for i in range(257))}, "can", "256"),
    "60_weights_as_a_list": ("update", {"body": [0.125, -3.0]}, "body"),
    "60_negative_units": (
        "task",
        {"network": NETWORK | {"layers": [{"type": "dense", "units": -2}]}},
        "network.layers.0.dense.units",
        "1",
    ),
    "60_product_overflow": (
        "task",
        {"network": NETWORK | {"layers": HUGE}},
        "network",
        "4295360514",
        "50000000",
    ),
    "60_units_of_2_63": (
        "task",
        {"network": NETWORK | {"layers": [{"type": "dense", "units": 2**63}]}},
        "network.layers.0.dense.units",
        "65536",
    ),
    "a_layer_without_a_type": (
        "task",
        {"network": NETWORK | {"layers": [{"units": 3}]}},
        "network.layers.0.unknown.type",
    ),
    "62_samples_nan": ("update", {"samples": float("nan")}, "samples"),
    "62_samples_true": ("update", {"samples": True}, "samples"),
    "64_device_with_slash": ("update", {"device": "a/b"}, "device"),
    "64_device_with_plus": ("update", {"device": "+"}, "device"),
    "64_device_with_hash": ("update", {"device": "#"}, "device"),
    "64_device_with_newline": ("update", {"device": "pi\n"}, "device"),
    "short_digest": ("update", {"base": b"m" * 31}, "base", "32"),
    "long_digest": ("update", {"base": b"m" * 33}, "base", "32"),
    "metric_not_finite": ("update", {"metrics": {"loss": float("inf")}}, "metrics.loss"),
    "endless_metric_name": ("update", {"metrics": {"x" * 60_000: 1.0}}, "metrics.xxx"),
    "33_metrics": ("update", {"metrics": {f"x{i}": 0.0 for i in range(33)}}, "metrics", "32"),
    "class_told_twice": ("survey_with_classes", {"classes": [{"name": "walk", "rows": 5}] * 2}, "classes"),
    "101_classes_told": (
        "survey_with_classes",
        {"classes": [{"name": f"c{k}", "rows": 5} for k in range(101)]},
        "classes",
        "100",
    ),
    "class_of_61_characters": (
        "survey_with_classes",
        {"classes": [{"name": "x" * 61, "rows": 5}]},
        "classes.0.name",
    ),
    "class_that_turns_the_writing": (
        "survey_with_classes",
        {"classes": [{"name": "walk\u202e", "rows": 5}]},
        "classes.0.name",
    ),
    "class_of_fewer_than_no_rows": (
        "survey_with_classes",
        {"classes": [{"name": "walk", "rows": -1}]},
        "classes.0.rows",
        "0",
    ),
    "same_feature_twice": ("task", {"features": ["a", "a"]}, "features"),
    "empty_feature_name": ("task", {"features": ["a", ""]}, "features.1"),
    "too_few_features": ("task", {"features": ["a"]}, "message", "1", "2"),
    "too_few_classes": ("task", {"classes": ["a"]}, "message", "1", "2"),
    "targets_of_a_classifier": ("task", {"targets": ["a", "b"]}, "message", "classes", "targets"),
    "training_without_model": ("round", {"model": ...}, "message", "model", "plan"),
    "fraction_0": ("round", {"cohort": {"fraction": 0.0, "seed": 0}}, "cohort.fraction"),
    "fraction_nan": ("round", {"cohort": {"fraction": float("nan"), "seed": 0}}, "cohort.fraction"),
    "slot_2": ("round", {"task": TASK_BLOB.model_dump() | {"slot": 2}}, "task.slot", "1"),
    "more_frames_than_bytes": (
        "round",
        {"task": TASK_BLOB.model_dump() | {"frames": 401}},
        "task",
        "400",
        "401",
    ),
    "plan_without_end": ("round", {"plan": {"epochs": 10**6}}, "plan.epochs", "1000"),
    "endless_reason": ("receipt_refused", {"reason": "x" * 41}, "reason"),
    "reason_as_number": ("receipt_refused", {"reason": 5}, "reason"),
    "refusal_without_reason": ("receipt_refused", {"reason": ...}, "message", "reason"),
    "missing_of_an_admitted": ("receipt", {"missing": [1]}, "message", "missing"),
    "missing_as_text": ("receipt_retry", {"missing": ["1"]}, "missing.0"),
    "missing_beyond_the_frames": ("receipt_retry", {"missing": [4_096]}, "missing.0"),
    "too_many_missing": ("receipt_retry", {"missing": [0] * 4_097}, "missing"),
    "export_of_nothing": ("export", {"file": ...}, "message", "file"),
    "signature_as_text": ("signed", {"sigs": ["s"]}, "sigs.0"),
    "nine_signatures": ("signed", {"sigs": [b""] * 9}, "sigs", "8"),
    "state_that_is_no_name": ("round", {"state": "half open"}, "state"),
    "more_than_all": ("round", {"cohort": {"fraction": 2.0, "seed": 0}}, "cohort.fraction", "1"),
    "network_without_an_end": (
        "task",
        {"network": {"inputs": 2, "layers": [{"type": "relu"}], "loss": "cross-entropy"}},
        "network",
        "dense",
    ),
    "surveyor_with_a_slash": ("survey", {"device": "a/b"}, "device"),
    "boot_id_of_a_byte": ("status", {"boot": b"b"}, "boot", "16"),
    "connection_as_text": ("status", {"connection": "1"}, "connection"),
    "beat_backwards": ("service", {"beat": -1}, "beat", "0"),
    "unknown_verdict": ("receipt", {"verdict": "maybe"}, "verdict", "'admitted'", "'refused'", "'retry'"),
}
"""An example, what is wrong in it, the field that is named for it, and what else has to be told."""


def test_there_are_enough_bad_messages() -> None:
    assert len(BROKEN) >= 30


@pytest.mark.parametrize(
    ("name", "fields", "place", "facts"),
    [(name, fields, place, facts) for name, fields, place, *facts in BROKEN.values()],
    ids=BROKEN,
)
def test_a_broken_message_is_refused_by_name(
    name: str, fields: dict[str, Any], place: str, facts: list[str]
) -> None:
    kind = type(EXAMPLES[name])
    error = refusal(changed(name, **fields), kind)
    assert error.reason is Reason.MALFORMED
    assert re.match(rf"{kind.TYPE}: {re.escape(place)}(:|x)", str(error))
    assert all(fact in str(error) for fact in facts)
    assert len(str(error)) < 1_000


@pytest.mark.parametrize("fields", [{}, {"type": ...}], ids=["other_type", "no_type"])
def test_a_message_of_another_type_is_refused(fields: dict[str, Any]) -> None:
    error = refusal(changed("status", **fields), Service if not fields else Status)
    assert error.reason is Reason.MALFORMED
    assert ("'status'" if not fields else "None") in str(error)
    assert ("'service'" if not fields else "'status'") in str(error)


def test_an_envelope_does_not_hide_what_is_wrong_inside() -> None:
    with pytest.raises(ProtocolError, match=r"'status'.*'round'"):
        unseal(seal(EXAMPLES["status"]), Manifest)
    with pytest.raises(ProtocolError, match=r"'round'.*'signed'"):
        unseal(payloads["round"], Manifest)
    with pytest.raises(ProtocolError) as caught:
        unseal(pack(Signed(body=payloads["round"] + b"\0")), Manifest)
    assert caught.value.reason is Reason.MALFORMED


def test_a_message_too_large_is_refused_for_its_size() -> None:
    payload = pack(Model(generation=1, round=1, body=bytes(encoding.MAX_PAYLOAD)))
    assert refusal(payload, Model).reason is Reason.OVERSIZE
    assert len(unpack(payload, Model, max_bytes=2 * encoding.MAX_PAYLOAD).body) == encoding.MAX_PAYLOAD
