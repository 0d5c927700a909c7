"""The coded form of the next model, with error feedback, and the key frame that it refers to. Pure.

Let w be the model that a round was announced with, and x what the rule and the server optimizer make of its
updates. With the error e that the announcements before have left,

    master m = x + e,    announced w' = decoded(coded(m)),    next error e' = m - w',

each rounded to float32. So m moves by x - w from round to round, as if nothing were coded: no step is lost,
however small it is beside the step of the codec, and the errors do not add up. All else begins from w'.

Seide, Fu, Droppo, Li, Yu 2014, "1-Bit Stochastic Gradient Descent and its Application to Data-Parallel
Distributed Training of Speech DNNs", Interspeech, equations 3 to 5, for the error of one sender; Karimireddy,
Rebjock, Stich, Jaggi 2019, "Error Feedback Fixes SignSGD and other Gradient Compression Schemes", ICML,
https://arxiv.org/abs/1901.09847, Algorithm 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.protocols import WEIGHTS
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.model import Model
from fedge.wire.models import CHANGES, Key, Vector, coded_message, decoded


@dataclass(frozen=True, eq=False)
class Before:
    """What the announcement before has left."""

    errors: Mapping[str, Vector] = field(default_factory=dict)
    """By vector, of shape (p,) each; a vector without one has no error."""
    key: Key | None = None
    """The key frame that it used; None: none."""


@dataclass(frozen=True, eq=False)
class Coding:
    """The next model in its coded form."""

    codec: str
    data: bytes
    """The message of the coded form."""
    vectors: Mapping[str, Vector]
    """What everybody decodes from it, `weights` first, of shape (p,) each: the announced model."""
    errors: Mapping[str, Vector]
    """What its vectors lack of the master's, of shape (p,) each."""
    key: Key | None
    """The key frame that it refers to; None: none."""


def key_for(round_id: RoundId, codec: str, every: int, before: Before, base: Key) -> Key | None:
    """The key frame of a round's next model: the one before, or the round's base if that one is old.

    Args:
        round_id: the round that closes.
        codec: of the coded form.
        every: the most rounds for which a key frame is used.
        before: has the key frame that was used last.
        base: the model that the round was announced with.
    """
    if codec not in CHANGES:
        return None
    last = before.key
    young = last is not None and round_id.round - last.round.round <= every
    same = last is not None and last.round.generation == round_id.generation
    return last if young and same else base


def coded(
    round_id: RoundId,
    made: Mapping[str, Vector],
    codec: str,
    seed: int,
    errors: Mapping[str, Vector],
    key: Key | None,
    passes: Callable[[str, NDArray[np.float32]], bool] = lambda _, vector: bool(np.isfinite(vector).all()),
) -> Coding | None:
    """Code the next model; None: its coded form is not usable, and it has to be sent as it is.

    Args:
        round_id: the round that has made it.
        made: its weights and further vectors by name, of shape (p,) each.
        codec: of the coded form.
        seed: of the federation.
        errors: left by the announcement before.
        key: as `key_for` gives it.
        passes: whether a decoded vector of this name is usable.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        masters = {
            name: vector + errors[name] if name in errors and len(errors[name]) == len(vector) else vector
            for name, vector in {WEIGHTS: made[WEIGHTS], **made}.items()
        }
        if key is not None:
            changes = (m - key.vectors[name] for name, m in masters.items() if name in key.vectors)
            if not all(np.isfinite(change).all() for change in changes):
                return None
    if not all(np.isfinite(master).all() for master in masters.values()):
        return None
    data = coded_message(round_id, masters, codec, seed, key)
    vectors = decoded(unpack(data, Model, max_bytes=MAX_SIZE), seed, key)
    if not all(passes(name, vector) for name, vector in vectors.items()):
        return None
    with np.errstate(over="ignore"):
        left = {name: masters[name] - vector for name, vector in vectors.items()}
    if not all(np.isfinite(error).all() for error in left.values()):
        return None
    return Coding(codec, data, vectors, left, key)
