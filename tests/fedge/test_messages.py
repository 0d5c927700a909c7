"""Every message: there and back, frozen bytes of version 1, and what is not a message of ours."""

import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedge.algorithms.plan import Plan
from fedge.errors import ProtocolError
from fedge.identity.provisioning import Enrol, Issued, Renew, Verifier
from fedge.nn.spec import Dense, NetworkSpec, ReLU, Rescale, Sigmoid, Standardize, Tanh
from fedge.wire import encoding, messages
from fedge.wire.capabilities import unknown_in_task
from fedge.wire.messages.envelope import MAX_SUCCESSIONS, Signed, Succession, seal, unseal
from fedge.wire.messages.export import Export
from fedge.wire.messages.fields import MAX_COUNTER, MAX_FRAMES, MAX_SEED, MAX_SIZE
from fedge.wire.messages.frame import Asked, Blob, Frame
from fedge.wire.messages.kinds import KINDS
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import Message, pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Decline, Status
from fedge.wire.messages.survey import CLASS_TOLD, MAX_CLASSES_TOLD, ClassCount, Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason

GOLDEN = Path(__file__).parent / "golden"


def numbers(*values: float, dtype: str = "<f4") -> bytes:
    return np.array(values, dtype=dtype).tobytes()


TASK_BLOB = Blob(digest=b"t" * 32, slot=0, frames=1, size=400)
MODEL_BLOB = Blob(digest=b"m" * 32, slot=1, frames=3, size=300_000)

EXAMPLES: dict[str, Message] = {
    "task": Task(
        network=NetworkSpec(
            inputs=2,
            layers=(
                Standardize(mean=numbers(0.5, -1), scale=numbers(1, 2)),
                Dense(units=3),
                ReLU(),
                Dense(units=2),
            ),
            loss="cross-entropy",
        ),
        features=("speed", "Drehzahl (1/min) µ"),
        classes=("ok", "worn"),
        reconnect_spread_s=2.5,
    ),
    "task_regression": Task(
        network=NetworkSpec(
            inputs=1,
            layers=(
                Dense(units=2),
                Tanh(),
                Sigmoid(),
                Dense(units=1),
                Rescale(mean=numbers(20), scale=numbers(4)),
            ),
            loss="mse",
        ),
        features=("load",),
        targets=("temperature",),
    ),
    "model": Model(generation=1, round=7, body=numbers(1, -2.5, 0)),
    "round": Manifest(
        generation=2,
        round=8,
        attempt=1,
        kind="train",
        state="open",
        seed=MAX_SEED,
        task=TASK_BLOB,
        model=MODEL_BLOB,
        plan=Plan(epochs=3, batch_size=0, learning_rate=0.1, momentum=0.9, weight_decay=1e-4),
        cohort=Cohort(fraction=0.25, seed=99),
        seconds_left=59.5,
    ),
    "round_requiring": Manifest(
        generation=1,
        round=2,
        kind="train",
        state="open",
        seed=0,
        task=TASK_BLOB,
        model=MODEL_BLOB,
        plan=Plan(codec="topk"),
        cohort=Cohort(fraction=1.0, seed=0),
        seconds_left=9.0,
        requires=("codec:topk", "layer:dense", "local:sgd", "phase:train"),
    ),
    "round_capped": Manifest(
        generation=1,
        round=3,
        kind="train",
        state="open",
        seed=0,
        task=TASK_BLOB,
        model=MODEL_BLOB,
        plan=Plan(),
        cohort=Cohort(fraction=1.0, seed=0),
        seconds_left=9.0,
        max_samples=1_000_000,
    ),
    "round_survey": Manifest(
        generation=1,
        round=0,
        kind="survey",
        state="paused",
        seed=0,
        task=TASK_BLOB,
        cohort=Cohort(fraction=1.0, seed=0),
        seconds_left=0.0,
    ),
    "update": Update(
        generation=1,
        round=8,
        base=b"m" * 32,
        device="pi-1",
        samples=1_234,
        steps=390,
        kind="weights",
        codec="float32",
        body=numbers(0.125, -3),
        metrics={"loss_before": 1.5, "loss_after": 0.25, "accuracy": 0.9, "seconds": 0.75},
    ),
    "survey": Survey(
        generation=1,
        round=0,
        base=b"t" * 32,
        device="pi-2",
        samples=40,
        features=numbers(40, 39, 0.5, -1, 10, 20, dtype="<f8"),
        targets=numbers(40, 2, 3, dtype="<f8"),
        metrics={"seconds": 0.01},
    ),
    "survey_with_classes": Survey(
        generation=1,
        round=0,
        base=b"t" * 32,
        device="pi-2",
        samples=40,
        features=numbers(40, 39, 0.5, -1, 10, 20, dtype="<f8"),
        classes=(ClassCount(name="walk", rows=25), ClassCount(name="über", rows=15)),
    ),
    "receipt": Receipt(generation=1, round=8, update=b"u" * 32, verdict="admitted"),
    "receipt_refused": Receipt(
        generation=1,
        round=8,
        update=b"u" * 32,
        verdict="refused",
        reason=Reason.NOT_FINITE,
        detail="17 of 442 weights are not finite",
    ),
    "receipt_retry": Receipt(
        generation=1, round=8, update=b"u" * 32, verdict="retry", after_s=5.0, missing=(0, 3, 4_095)
    ),
    "status": Status(
        online=True,
        boot=b"b" * 16,
        connection=3,
        version="0.1.0",
        samples=1_234,
        generation=1,
        round=8,
        holds=b"m" * 32,
        declined=Decline(
            generation=1, round=7, attempt=0, reason=Reason.TOO_FEW_SAMPLES, detail="12 samples of 20"
        ),
    ),
    "status_able": Status(
        online=True, boot=b"b" * 16, connection=1, version="0.3.0", can=("codec:topk", "layer:dense")
    ),
    "status_gated": Status(
        online=True, boot=b"b" * 16, connection=1, version="0.3.0", holds=b"m" * 32, uses=b"o" * 32
    ),
    "status_offline": Status(online=False, boot=b"b" * 16, connection=0, version="0.1.0"),
    "service": Service(online=True, ledger=b"l" * 16, instance=b"i" * 16, beat=42),
    "export": Export(generation=1, round=8, model=b"m" * 32, file=MODEL_BLOB),
    "export_withheld": Export(generation=1, round=8, model=b"m" * 32, withheld="it computes 0.1 off"),
    "frame": Frame(id=b"f" * 32, i=1, n=3, size=25, data=bytes(range(10))),
    "frame_asking": Frame(
        id=b"f" * 32, i=0, n=3, size=25, data=bytes(range(10)), asks=Asked(generation=1, round=7)
    ),
    "signed": Signed(body=b"\x80", sigs=(b"s" * 64,)),
    "signed_by_a_successor": Signed(
        body=b"\x80",
        sigs=(b"s" * 64,),
        chain=(Succession(old=b"o" * 32, new=b"n" * 32, sig=b"c" * 64),),
    ),
    "enrol": Enrol(
        device="pi-1", csr=b"csr", renewal=Verifier(salt=b"s" * 12, hash=b"h" * 64), proof=b"p" * 32
    ),
    "renew": Renew(csr=b"csr", certificate=b"certificate", signature=b"signature"),
    "issued": Issued(csr=b"c" * 32, certificate=b"certificate"),
    "issued_refused": Issued(csr=b"c" * 32, refused="name_taken", detail="pi-1 is another's"),
}
payloads = {name: pack(message) for name, message in EXAMPLES.items()}
examples = pytest.mark.parametrize("name", EXAMPLES)
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.TYPE)


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
    assert len(KINDS) == 14


def test_every_kind_is_in_the_registry_under_a_name_of_its_own() -> None:
    for module in pkgutil.iter_modules(messages.__path__, "fedge.wire.messages."):
        import_module(module.name)
    there = {kind for kind in Message.__subclasses__() if kind.__module__.startswith("fedge.")}
    assert set(KINDS.values()) == there
    assert all(name == kind.TYPE for name, kind in KINDS.items())


# There and back

counters = st.integers(0, MAX_COUNTER)
generations = st.integers(1, MAX_COUNTER)
class_counts = st.lists(
    st.builds(ClassCount, name=st.from_regex(CLASS_TOLD, fullmatch=True), rows=counters),
    max_size=MAX_CLASSES_TOLD,
    unique_by=lambda count: count.name,
).map(tuple)
digests = st.binary(min_size=32, max_size=32)
idents = st.binary(min_size=16, max_size=16)
devices = st.from_regex(r"[a-z0-9][a-z0-9-]{0,35}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
names = st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True).map(tuple)
seconds = st.floats(0, 1e9)
seeds = st.integers(0, MAX_SEED)
metrics = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True),
    st.floats(allow_nan=False, allow_infinity=False),
    max_size=5,
)
reasons = st.sampled_from(Reason)
successions = st.builds(Succession, old=digests, new=digests, sig=st.binary(max_size=64))


@st.composite
def blobs(draw: st.DrawFn) -> Blob:
    frames = draw(st.integers(1, MAX_FRAMES))
    size = draw(st.integers(frames, MAX_SIZE))
    return Blob(digest=draw(digests), slot=draw(st.integers(0, 1)), frames=frames, size=size)


plans = st.builds(
    Plan,
    epochs=st.integers(1, 1_000),
    batch_size=st.integers(0, 1_000_000),
    learning_rate=st.floats(0, 1e3, exclude_min=True),
    momentum=st.floats(0, 1, exclude_max=True),
    weight_decay=st.floats(0, 1),
)
cohorts = st.builds(
    Cohort,
    fraction=st.floats(0, 1, exclude_min=True),
    seed=seeds,
)
declines = st.builds(
    Decline, generation=generations, round=counters, attempt=counters, reason=reasons, detail=texts
)


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    features, outputs = draw(names), draw(names)
    loss = draw(st.sampled_from(["cross-entropy", "mse"]))
    hidden = draw(st.lists(st.sampled_from([ReLU(), Tanh(), Sigmoid(), Dense(units=3)]), max_size=4))
    width = len(features)
    layers = [Standardize(mean=numbers(*[0.5] * width), scale=numbers(*[2] * width)), *hidden]
    network = NetworkSpec(
        inputs=width, layers=(*layers[draw(st.integers(0, 1)) :], Dense(units=len(outputs))), loss=loss
    )
    named = {"classes" if loss == "cross-entropy" else "targets": outputs}
    return Task(network=network, features=features, reconnect_spread_s=draw(seconds), **named)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    kind = draw(st.sampled_from(["survey", "train"]))
    optional = (lambda part: part) if kind == "train" else (lambda part: st.none() | part)
    return Manifest(
        generation=draw(generations),
        round=draw(counters),
        attempt=draw(counters),
        kind=kind,
        state=draw(st.sampled_from(["open", "done", "of_later"])),
        seed=draw(seeds),
        task=draw(blobs()),
        model=draw(optional(blobs())),
        plan=draw(optional(plans)),
        cohort=draw(cohorts),
        seconds_left=draw(seconds),
    )


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    verdict = draw(st.sampled_from(["admitted", "refused", "retry"]))
    return Receipt(
        generation=draw(generations),
        round=draw(counters),
        update=draw(digests),
        verdict=verdict,
        reason=draw(reasons if verdict == "refused" else st.none() | reasons),
        detail=draw(texts),
        after_s=draw(seconds),
        missing=draw(st.lists(st.integers(0, MAX_FRAMES - 1)).map(tuple)) if verdict == "retry" else (),
    )


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    data = draw(st.binary(min_size=1, max_size=50))
    n = draw(st.integers(1, MAX_FRAMES))
    size = draw(st.integers(max(n, len(data)), MAX_SIZE))
    return Frame(id=draw(digests), i=draw(st.integers(0, n - 1)), n=n, size=size, data=data)


STRATEGIES: dict[type[Message], st.SearchStrategy[Any]] = {
    Task: tasks(),
    Model: st.builds(Model, generation=generations, round=counters, body=st.binary()),
    Manifest: manifests(),
    Update: st.builds(
        Update,
        generation=generations,
        round=counters,
        base=digests,
        device=devices,
        samples=st.integers(-(2**63), 2**64 - 1),
        steps=st.integers(0, 2**63 - 1),
        kind=st.sampled_from(["weights", "delta"]),
        codec=st.just("float32"),
        body=st.binary(),
        metrics=metrics,
    ),
    Survey: st.builds(
        Survey,
        generation=generations,
        round=counters,
        base=digests,
        device=devices,
        samples=st.integers(-(2**63), 2**64 - 1),
        features=st.binary(),
        targets=st.binary(),
        classes=st.none() | class_counts,
        metrics=metrics,
    ),
    Receipt: receipts(),
    Status: st.builds(
        Status,
        online=st.booleans(),
        boot=idents,
        connection=counters,
        version=st.from_regex(r"[0-9A-Za-z.+!_-]{0,40}", fullmatch=True),
        samples=st.none() | counters,
        generation=counters,
        round=counters,
        holds=st.none() | digests,
        declined=st.none() | declines,
        signer=st.none() | digests,
    ),
    Service: st.builds(Service, online=st.booleans(), ledger=idents, instance=idents, beat=counters),
    Export: st.builds(Export, generation=generations, round=counters, model=digests, file=blobs())
    | st.builds(Export, generation=generations, round=counters, model=digests, withheld=texts.filter(bool)),
    Frame: frames(),
    Enrol: st.builds(
        Enrol,
        device=devices,
        csr=st.binary(min_size=1, max_size=40),
        renewal=st.builds(
            Verifier,
            salt=st.binary(min_size=12, max_size=12),
            hash=st.binary(min_size=64, max_size=64),
        ),
        proof=digests,
    ),
    Renew: st.builds(
        Renew,
        csr=st.binary(min_size=1, max_size=40),
        certificate=st.binary(min_size=1, max_size=40),
        signature=st.binary(min_size=1, max_size=40),
    ),
    Issued: st.builds(Issued, csr=digests, certificate=st.binary(max_size=40), detail=texts)
    | st.builds(Issued, csr=digests, refused=st.sampled_from(["name_taken", "revoked"]), detail=texts),
    Signed: st.builds(
        Signed,
        body=st.binary(),
        sigs=st.lists(st.binary(), max_size=8).map(tuple),
        chain=st.none() | st.lists(successions, max_size=MAX_SUCCESSIONS).map(tuple),
    ),
}


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
    with pytest.raises(ValueError, match="does not know"):
        _ = task.network.schema


# What is not a message


def changed(name: str, **fields: object) -> bytes:
    """The example of that name, with some fields replaced; a field that is `...` is left out."""
    mixed = encoding.decode(payloads[name]) | fields
    return encoding.encode({key: value for key, value in mixed.items() if value is not ...})


def refusal(payload: bytes, kind: type[Message]) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        unpack(payload, kind)
    return caught.value


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


# Fuzzing: nothing but ProtocolError


def attempt(payload: bytes, kind: type[Message]) -> None:
    """Unpack for every kind; a message that is accepted must itself be one that can be packed."""
    try:
        message = unpack(payload, kind)
    except ProtocolError:
        return
    assert unpack(pack(message), kind) == message


@kinds
@given(st.binary(max_size=100))
def test_random_bytes_raise_only_protocol_errors(kind: type[Message], payload: bytes) -> None:
    attempt(payload, kind)


@examples
@settings(max_examples=50)
@given(
    cut=st.integers(0, 600),
    removed=st.integers(0, 5),
    put=st.binary(max_size=5),
)
def test_mutated_golden_bytes_raise_only_protocol_errors(
    name: str, cut: int, removed: int, put: bytes
) -> None:
    payload = payloads[name]
    at = cut % len(payload)
    attempt(payload[:at] + put + payload[at + removed :], type(EXAMPLES[name]))


@examples
def test_fault_54_every_cut_is_refused(name: str) -> None:
    for end in range(len(payloads[name])):
        assert refusal(payloads[name][:end], type(EXAMPLES[name])).reason is Reason.MALFORMED


def paths(value: object, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from paths(part, (*at, key))


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | texts
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)


@examples
@settings(max_examples=50, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data(), value=plain)
def test_any_value_in_any_place_raises_only_protocol_errors(
    name: str, data: st.DataObject, value: object
) -> None:
    fields = msgpack.unpackb(payloads[name])
    *way, last = data.draw(st.sampled_from([path for path in paths(fields) if path]))
    place = fields
    for key in way:
        place = place[key]
    place[last] = value
    attempt(msgpack.packb(fields), type(EXAMPLES[name]))


def test_messages_are_cheap_to_import() -> None:
    """A device reads them; what only the aggregator needs stays out."""
    code = "import sys, fedge.wire.messages.kinds, fedge.wire.frames; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"onnx", "onnxruntime", "plotly", "typer", "rich", "safetensors", "sklearn", "sqlite3", "asyncio"}
    assert not heavy & set(loaded.split())
    assert "paho" not in loaded
