"""Messages of every kind, drawn by hypothesis."""

from typing import Any

from hypothesis import strategies as st

from fedge.algorithms.plan import Plan
from fedge.identity.provisioning import Enrol, Issued, Renew, Verifier
from fedge.masking.messages import (
    ADVERTISED_BYTES,
    MAX_DEVICES,
    MAX_WEIGHT,
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
from fedge.nn.spec import MAX_WEIGHTS, Dense, NetworkSpec, ReLU, Sigmoid, Standardize, Tanh
from fedge.wire.messages.envelope import MAX_SUCCESSIONS, Signed, Succession
from fedge.wire.messages.export import Export
from fedge.wire.messages.fields import MAX_COUNTER, MAX_FRAMES, MAX_SEED, MAX_SIZE
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.messages.message import Message
from fedge.wire.messages.model import Model
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Decline, Status
from fedge.wire.messages.survey import CLASS_TOLD, MAX_CLASSES_TOLD, ClassCount, Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from tests.fedge.message_examples import numbers

counters = st.integers(0, MAX_COUNTER)
generations = st.integers(1, MAX_COUNTER)
class_counts = st.lists(
    st.builds(ClassCount, name=st.from_regex(CLASS_TOLD, fullmatch=True), rows=counters),
    max_size=MAX_CLASSES_TOLD,
    unique_by=lambda count: count.name,
).map(tuple)
digests = st.binary(min_size=32, max_size=32)
signatures = st.binary(min_size=64, max_size=64)
members = st.binary(min_size=1, max_size=125)
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
    model = draw(optional(blobs()))
    coded = None if model is None else draw(st.none() | blobs())
    return Manifest(
        generation=draw(generations),
        round=draw(counters),
        attempt=draw(counters),
        kind=kind,
        state=draw(st.sampled_from(["open", "done", "of_later"])),
        seed=draw(seeds),
        task=draw(blobs()),
        model=model,
        coded=None if model is None or coded is None else coded.model_copy(update={"slot": model.slot}),
        key=None if coded is None else draw(st.none() | blobs()),
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
    Model: st.builds(
        Model,
        generation=generations,
        round=counters,
        body=st.binary(),
        key=st.none() | digests,
        size=st.none() | st.integers(1, MAX_SIZE),
    ),
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
    Promise: st.builds(
        Promise,
        generation=generations,
        round=counters,
        base=digests,
        device=devices,
        certificate=st.binary(min_size=1, max_size=40),
    ),
    Terms: st.builds(
        Terms,
        federation=st.just("pumps"),
        generation=generations,
        round=counters,
        attempt=counters,
        base=digests,
        cohort=st.sets(devices, min_size=3, max_size=6).map(lambda found: tuple(sorted(found))),
        size=st.integers(1, MAX_WEIGHTS),
        value_bits=st.integers(2, 16),
        clip=st.floats(0, 1e9, exclude_min=True),
        max_weight=st.integers(1, MAX_WEIGHT),
        threshold=st.integers(2, MAX_DEVICES),
        colluders=st.integers(0, MAX_DEVICES),
        dropouts=st.integers(0, MAX_DEVICES),
        server=st.sampled_from(["lying", "honest-but-curious"]),
    ),
    Call: st.builds(
        Call,
        terms=st.binary(min_size=1, max_size=40),
        certificates=st.lists(st.binary(min_size=1, max_size=40), max_size=5).map(tuple),
    ),
    Objection: st.builds(
        Objection,
        terms=digests,
        device=devices,
        why=st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,39}", fullmatch=True),
        detail=texts,
    ),
    Advertise: st.builds(
        Advertise,
        terms=digests,
        device=devices,
        sealing_key=digests,
        masking_key=digests,
        commitment=digests,
        signature=signatures,
    ),
    Roster: st.builds(
        Roster,
        terms=digests,
        members=members,
        advertised=st.binary(min_size=ADVERTISED_BYTES, max_size=2 * ADVERTISED_BYTES),
        signatures=st.binary(max_size=128),
    ),
    Share: st.builds(Share, terms=digests, device=devices, roster=digests, sealed=st.binary(max_size=164)),
    Delivery: st.builds(Delivery, terms=digests, sharers=members, sealed=st.binary(max_size=164)),
    MaskedInput: st.builds(
        MaskedInput,
        terms=digests,
        device=devices,
        values=st.binary(min_size=1, max_size=40),
        signature=signatures,
    ),
    Survivors: st.builds(
        Survivors, terms=digests, alive=members, dead=members, signatures=st.binary(max_size=128)
    ),
    Consistency: st.builds(Consistency, terms=digests, device=devices, signature=signatures),
    Agreement: st.builds(Agreement, terms=digests, signers=members, signatures=st.binary(max_size=128)),
    Unmask: st.builds(Unmask, terms=digests, device=devices, shares=st.binary(max_size=99)),
    Signed: st.builds(
        Signed,
        body=st.binary(),
        sigs=st.lists(st.binary(), max_size=8).map(tuple),
        chain=st.none() | st.lists(successions, max_size=MAX_SUCCESSIONS).map(tuple),
    ),
}
