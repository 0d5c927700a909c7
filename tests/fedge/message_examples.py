"""A message of every kind, as golden bytes have them, and what is made of them."""

from pathlib import Path

import numpy as np
import pytest

from fedge.algorithms.plan import Plan
from fedge.errors import ProtocolError
from fedge.identity.provisioning import Enrol, Issued, Renew, Verifier
from fedge.masking.messages import (
    Advertise,
    Agreement,
    Consistency,
    Delivery,
    MaskedInput,
    Roster,
    Share,
    Survivors,
    Terms,
    Unmask,
)
from fedge.masking.round_messages import Call, Objection, Promise
from fedge.nn.spec import Dense, NetworkSpec, ReLU, Rescale, Sigmoid, Standardize, Tanh
from fedge.wire import encoding
from fedge.wire.messages.envelope import Signed, Succession
from fedge.wire.messages.export import Export
from fedge.wire.messages.fields import MAX_SEED
from fedge.wire.messages.frame import Asked, Blob, Frame
from fedge.wire.messages.kinds import KINDS
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import Message, pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.protection import Charges, Masks, Privacy, Protection
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Decline, Status
from fedge.wire.messages.survey import ClassCount, Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason

GOLDEN = Path(__file__).parent / "golden"


def numbers(*values: float, dtype: str = "<f4") -> bytes:
    return np.array(values, dtype=dtype).tobytes()


TASK_BLOB = Blob(digest=b"t" * 32, slot=0, frames=1, size=400)
MODEL_BLOB = Blob(digest=b"m" * 32, slot=1, frames=3, size=300_000)

TERMS = Terms(
    federation="pumps",
    generation=1,
    round=8,
    attempt=2,
    base=b"m" * 32,
    cohort=("pi-1", "pi-2", "pi-3"),
    size=442,
    value_bits=8,
    clip=0.5,
    max_weight=1,
    threshold=3,
    colluders=0,
    dropouts=0,
    server="lying",
)

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
    "model_coded": Model(
        generation=1,
        round=7,
        codec="int8",
        body=bytes.fromhex("0000803f7fc0"),
        vectors={"control": bytes.fromhex("0000803f0001")},
        key=b"k" * 32,
        size=2,
    ),
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
    "round_coded": Manifest(
        generation=1,
        round=8,
        kind="train",
        state="open",
        seed=0,
        task=TASK_BLOB,
        model=MODEL_BLOB,
        coded=Blob(digest=b"c" * 32, slot=1, frames=1, size=76_000),
        key=Blob(digest=b"k" * 32, slot=0, frames=3, size=300_000),
        plan=Plan(),
        cohort=Cohort(fraction=1.0, seed=0),
        seconds_left=9.0,
        requires=("codec:int8", "layer:dense", "local:sgd", "model:coded", "phase:train"),
    ),
    "round_protected": Manifest(
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
        requires=("protection:central", "protection:masked"),
        protection=Protection(
            privacy=Privacy(
                mechanism="central",
                epsilon=8.0,
                delta=1e-6,
                unit="device",
                adjacency="add-remove",
                clip=0.5,
                noise_multiplier=6.25,
                cohort=100,
                rounds=200,
                witness=Charges(number=2, digest="ab" * 32),
            ),
            masked=Masks(server="lying", threshold=67, cohort=100, value_bits=8, clip=0.5, max_weight=1),
            devices=67,
        ),
    ),
    "round_masked_groups": Manifest(
        generation=1,
        round=8,
        kind="masked",
        state="open",
        seed=2**63 - 1,
        task=TASK_BLOB,
        model=MODEL_BLOB,
        plan=Plan(),
        cohort=Cohort(fraction=1.0, seed=0),
        seconds_left=9.0,
        requires=("phase:masked", "protection:masked.groups"),
        protection=Protection(
            masked=Masks(
                server="lying", threshold=3, cohort=3, value_bits=8, clip=0.5, max_weight=1, groups=4
            ),
            devices=3,
        ),
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
    "update_of_a_cluster": Update(
        generation=1,
        round=8,
        base=b"m" * 32,
        device="pi-1",
        samples=1_234,
        steps=390,
        kind="weights",
        codec="float32",
        body=numbers(0.125, -3),
        cluster=2,
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
    "masking_promise": Promise(
        generation=1, round=8, base=b"m" * 32, device="pi-1", certificate=b"certificate"
    ),
    "masking_promise_groups": Promise(
        generation=1, round=8, base=b"m" * 32, device="pi-1", certificate=b"certificate", drawn=b"d" * 32
    ),
    "masking_terms": TERMS,
    "masking_call": Call(terms=pack(TERMS), certificates=(b"one", b"two", b"three")),
    "masking_call_groups": Call(
        terms=pack(TERMS),
        certificates=(b"one", b"two", b"three"),
        whole=("pi-1", "pi-2", "pi-3", "pi-4", "pi-5", "pi-6"),
        drawn=bytes(range(192)),
    ),
    "masking_objection": Objection(
        terms=b"t" * 32, device="pi-1", why="bad_signature", detail="pi-2 has not signed"
    ),
    "masking_advertise": Advertise(
        terms=b"t" * 32,
        device="pi-1",
        sealing_key=b"s" * 32,
        masking_key=b"k" * 32,
        commitment=b"c" * 32,
        signature=b"g" * 64,
    ),
    "masking_roster": Roster(terms=b"t" * 32, members=b"\x07", advertised=b"a" * 288, signatures=b"g" * 192),
    "masking_share": Share(terms=b"t" * 32, device="pi-1", roster=b"r" * 32, sealed=b"s" * 164),
    "masking_delivery": Delivery(terms=b"t" * 32, sharers=b"\x07", sealed=b"s" * 164),
    "masking_input": MaskedInput(
        terms=b"t" * 32, device="pi-1", values=bytes(range(20)), signature=b"g" * 64
    ),
    "masking_survivors": Survivors(terms=b"t" * 32, alive=b"\x07", dead=b"\x00", signatures=b"g" * 128),
    "masking_consistency": Consistency(terms=b"t" * 32, device="pi-1", signature=b"g" * 64),
    "masking_agreement": Agreement(terms=b"t" * 32, signers=b"\x07", signatures=b"g" * 192),
    "masking_unmask": Unmask(terms=b"t" * 32, device="pi-1", shares=b"s" * 99),
    "issued": Issued(csr=b"c" * 32, certificate=b"certificate"),
    "issued_refused": Issued(csr=b"c" * 32, refused="name_taken", detail="pi-1 is another's"),
}
payloads = {name: pack(message) for name, message in EXAMPLES.items()}
examples = pytest.mark.parametrize("name", EXAMPLES)
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.TYPE)


def changed(name: str, **fields: object) -> bytes:
    """The example of that name, with some fields replaced; a field that is `...` is left out."""
    mixed = encoding.decode(payloads[name]) | fields
    return encoding.encode({key: value for key, value in mixed.items() if value is not ...})


def refusal(payload: bytes, kind: type[Message]) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        unpack(payload, kind)
    return caught.value
