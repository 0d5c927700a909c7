"""The first inputs: every message as it should be, on each topic where it belongs."""

from functools import cache

import numpy as np

from fedge.algorithms.registry import CODECS
from fedge.wire.capabilities import can
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import pack
from fedge.wire.messages.message import unpack as unpack_message
from fedge.wire.messages.status import Status
from fedge.wire.models import coded_message, read_key
from tests.agent.lifecycle.stories import manifest
from tests.bad_input import TASK as TASK_MESSAGE
from tests.fedge.message_examples import EXAMPLES, payloads
from tests.fuzz import masked
from tests.fuzz.inputs import ANNOUNCED, RAW, WHOLE, Input, Step
from tests.fuzz.receivers import KEY, KEY_FRAME, MODEL, RECEIPT, ROUND, SERVICE, STATUS, TASK, UPDATE
from tests.test_bad_updates import UPDATE as UPDATE_MESSAGE
from tests.test_bad_updates import UPDATES, WEIGHTS

WHERE = {"status": STATUS, "receipt": RECEIPT, "service": SERVICE, "signed": ROUND, "frame": UPDATE}
INSIDE = {"update": (WHOLE, UPDATE), "survey": (WHOLE, UPDATE), "task": (ANNOUNCED, TASK)}
INSIDE |= {"model": (ANNOUNCED, MODEL), "round": (ANNOUNCED, ROUND)}


@cache
def inputs() -> tuple[Input, ...]:
    """One input for each example, each broken update, and each codec's own update."""
    found = []
    for name, message in EXAMPLES.items():
        how, topic = INSIDE.get(message.TYPE, (RAW, WHERE.get(message.TYPE, SERVICE)))
        if message.TYPE.startswith("masking_"):
            steps = (Step(WHOLE, UPDATE, payloads[name]), Step(WHOLE, RECEIPT, payloads[name]))
            found += [Input(variant, steps) for variant in (0, masked.GROUPED, masked.FIRST, masked.BEFORE)]
            continue
        found.append(Input(0, (Step(how, topic, payloads[name]),)))
    for payload, *_ in UPDATES.values():
        found.append(Input(0, (Step(RAW, UPDATE, payload[:3_000]),)))
        try:
            whole = unpack_message(payload, Frame).data
        except ValueError:
            continue
        found.append(Input(0, (Step(WHOLE, UPDATE, whole),)))
    both = (Step(ANNOUNCED, TASK, pack(TASK_MESSAGE)), Step(ANNOUNCED, MODEL, payloads["model"]))
    return (*found, *of_codecs(), *of_coded_models(), *of_masking(), of_groups(), Input(0, both))


@cache
def of_masking() -> tuple[Input, ...]:
    """For each phase of secure aggregation what a device would answer, and what a server would send."""
    answers = [(UPDATE, each.answer) for each in masked.aggregators()]
    asked = [(RECEIPT, each.message) for each in masked.devices()]
    return tuple(
        Input(masked.FIRST + phase, (Step(WHOLE, topic, message),))
        for which in (answers, asked)
        for phase, (topic, message) in enumerate(which)
    )


@cache
def of_groups() -> Input:
    """The call of pi-1 to its group."""
    return Input(masked.GROUPED, (Step(WHOLE, RECEIPT, masked.grouped()[1]),))


@cache
def of_coded_models() -> tuple[Input, ...]:
    """A valid coded form of each codec for models."""
    vectors = {"weights": np.linspace(-1, 1, WEIGHTS, dtype=np.float32)}
    keys = {"int8": read_key(KEY_FRAME), "int4": read_key(KEY_FRAME), "float16": None}
    seed = manifest(2).seed
    forms = [coded_message(RoundId(1, 1), vectors, codec, seed, key) for codec, key in keys.items()]
    return tuple(Input(0, (Step(ANNOUNCED, KEY, form),)) for form in forms)


@cache
def of_codecs() -> tuple[Input, ...]:
    """A valid update of each codec, for a round whose plan asks for it."""
    able = Status(online=True, boot=bytes(16), connection=1, version="0.3.0", can=tuple(sorted(can())))
    found = []
    for number, name in enumerate(CODECS.names()):
        codec = CODECS.make(name)
        body, _ = codec.encode(np.linspace(-1, 1, WEIGHTS, dtype=np.float32), codec.init(WEIGHTS), 0)
        kind = {"weights": "weights", "change": "delta"}[codec.encodes]
        update = UPDATE_MESSAGE.model_copy(update={"codec": name, "kind": kind, "body": body})
        found.append(Input(number, (Step(RAW, STATUS, pack(able)), Step(WHOLE, UPDATE, pack(update)))))
    return tuple(found)
