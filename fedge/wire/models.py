"""A model's message in float32, and the coded form in which it is sent where the federation saves bytes.

The model that is announced is what everybody decodes: devices, aggregator, export. Its message in float32 is
its identity: the digest of that message is the `base` of updates. The coded form is a message of its own,
from which that message is made again, bit for bit. With `float16` the form holds the whole vectors. With
`int8` and `int4` it holds what has changed since a **key frame**: the message in float32 of an earlier
announced model. A device that held that model has the key frame already.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.codecs import float32
from fedge.algorithms.codecs.seeds import vector_seed
from fedge.algorithms.protocols import WEIGHTS
from fedge.algorithms.registry import CODECS
from fedge.errors import ProtocolError
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.reasons import Reason

Vector = NDArray[np.float32]

FLOAT32 = "float32"
"""The codec of models that are sent as they are."""
WHOLE, CHANGES = ("float16",), ("int8", "int4")
"""The codecs of coded models: of the whole vectors, and of the changes since a key frame."""
SENDER = "|model"
"""Stands for the device in the seeds of a model's vectors; no device has this id."""


@dataclass(frozen=True, eq=False)
class Key:
    """A key frame: an announced model, in float32."""

    digest: bytes
    """Of its message."""
    round: RoundId
    """The round that made it."""
    vectors: Mapping[str, Vector]
    """Its weights and further vectors by name, of shape (p,) each."""


def model_message(round_id: RoundId, vector: Vector, vectors: Mapping[str, Vector] | None = None) -> bytes:
    """A round's model in float32, as it is stored and hashed; `vectors`: those besides its weights."""
    body = float32.encode(vector)
    more = {name: float32.encode(each) for name, each in (vectors or {}).items()}
    return pack(Model(generation=round_id.generation, round=round_id.round, body=body, vectors=more or None))


def read_key(data: bytes) -> Key:
    """Read a key frame from its message in float32.

    Raises:
        ProtocolError: it is no model in float32.
    """
    message = unpack(data, Model, max_bytes=MAX_SIZE)
    if message.codec != FLOAT32 or message.key is not None:
        raise ProtocolError("model: a key frame is a whole model in float32")
    size = len(message.body) // 4
    bodies = {WEIGHTS: message.body, **(message.vectors or {})}
    vectors = {name: float32.decode(body, size) for name, body in bodies.items()}
    return Key(sha256(data).digest(), round_of(message), vectors)


def coded_message(
    round_id: RoundId, vectors: Mapping[str, Vector], codec: str, seed: int, key: Key | None = None
) -> bytes:
    """A round's model in its coded form.

    Args:
        round_id: of the round that made it.
        vectors: what the form is to say: `weights` and further vectors by name, of shape (p,) each.
        codec: one of `WHOLE` or `CHANGES`.
        seed: of the federation.
        key: the key frame, for one of `CHANGES`.
    """
    part, seed_of = CODECS.make(codec), partial(vector_seed, seed, *round_id, SENDER)
    bodies = {}
    for name, vector in vectors.items():
        with np.errstate(over="ignore"):
            given = vector if key is None else vector - _before(key, name, len(vector))
        bodies[name] = part.encode(given, {}, seed_of(name))[0]
    return pack(
        Model(
            generation=round_id.generation,
            round=round_id.round,
            codec=codec,
            body=bodies.pop(WEIGHTS),
            vectors=bodies or None,
            key=key.digest if key is not None else None,
            size=len(vectors[WEIGHTS]),
        )
    )


def decoded(message: Model, seed: int, key: Key | None = None) -> dict[str, Vector]:
    """The vectors that everybody reads from a coded form, `weights` first, of shape (p,) each.

    Args:
        message: the coded form.
        seed: of the federation.
        key: the key frame that it names.

    Raises:
        ProtocolError: the form contradicts itself or the key frame, or its codec cannot read it. A form of
            another generation than its key frame is refused, with the reason MALFORMED.
    """
    if message.codec not in WHOLE + CHANGES or message.size is None:
        raise ProtocolError(f"model: a coded form in {message.codec!r} cannot be read")
    if (message.codec in CHANGES) != (message.key is not None):
        raise ProtocolError(f"model: a form in {message.codec} does not say what its codec needs of a key")
    _require_fitting(message, key)
    part, size = CODECS.make(message.codec), message.size
    if message.key is None:
        key = None
    seed_of = partial(vector_seed, seed, *round_of(message), SENDER)
    found = {}
    for name, body in {WEIGHTS: message.body, **(message.vectors or {})}.items():
        vector = part.decode(body, size, seed_of(name))
        if key is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                vector = _before(key, name, size) + vector
        found[name] = vector
    return found


def decoded_message(message: Model, seed: int, key: Key | None = None) -> bytes:
    """The message in float32 that a coded form stands for; raises as `decoded`."""
    vectors = decoded(message, seed, key)
    return model_message(round_of(message), vectors.pop(WEIGHTS), vectors)


def _require_fitting(message: Model, key: Key | None) -> None:
    if message.key is None:
        return
    if key is None or key.digest != message.key:
        raise ProtocolError("model: the coded form names another key frame")
    if key.round.generation != message.generation:
        raise ProtocolError(
            f"model: the key frame is of generation {key.round.generation}, and the model of generation "
            f"{message.generation}"
        )
    if len(key.vectors[WEIGHTS]) != message.size:
        raise ProtocolError(
            f"model: the key frame has {len(key.vectors[WEIGHTS])} weights, and the model {message.size}",
            Reason.WRONG_LENGTH,
        )


def _before(key: Key, name: str, size: int) -> Vector:
    """The vector of a key frame; zeros if it has none of this name."""
    found = key.vectors.get(name)
    return found if found is not None else np.zeros(size, np.float32)
