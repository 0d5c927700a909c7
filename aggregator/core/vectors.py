"""The admission of an update's vectors: encoded as the plan says, finite, not too far. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aggregator.core.admission import Admitted
from aggregator.core.parts import require_vector
from aggregator.core.shared_entries import completed, sent_entries
from fedge.algorithms.codecs.seeds import vector_seed
from fedge.algorithms.protocols import WEIGHTS, Codec
from fedge.algorithms.registry import CODECS
from fedge.algorithms.rules.bounds import distance, distances
from fedge.errors import ProtocolError
from fedge.wire.freshness import round_of
from fedge.wire.messages import update as wire
from fedge.wire.messages.update import Update
from fedge.wire.models import FLOAT32
from fedge.wire.reasons import Reason, Rejection

if TYPE_CHECKING:  # it imports this module
    from aggregator.core.admission import Terms


TOGETHER = 2**16
"""The most entries of vectors that are measured together: they and their differences fit into a cache."""


def judge(terms: "Terms", message: Update) -> Admitted | Rejection:
    """Judge the vectors of an update, and the n_k that they count with."""
    if not 1 <= message.samples <= terms.max_samples:
        return Rejection(
            Reason.BAD_SAMPLE_COUNT, f"n_k = {message.samples}: a whole number in 1…{terms.max_samples}"
        )
    unknown = message.codec not in CODECS.entries()
    if unknown or message.codec != terms.codec:
        detail = f"encoded as {message.codec!r}: the plan asks for {terms.codec!r}"
        return Rejection(Reason.UNSUPPORTED if unknown else Reason.WRONG_KIND, detail)
    cluster = message.cluster or 0
    if cluster > len(terms.clusters):
        detail = f"made from model {cluster}: the round has models 0…{len(terms.clusters)}"
        return Rejection(Reason.WRONG_KIND, detail)
    start = terms.clusters[cluster - 1] if cluster else terms.start
    codec = CODECS.make(terms.codec, terms.codec_options)
    kind = wire.DELTA if codec.encodes == "change" else wire.WEIGHTS
    if message.kind != kind:
        return Rejection(Reason.WRONG_KIND, f"an update of kind {message.kind!r}: the plan asks for {kind}")
    more = message.vectors or {}
    if more.keys() != set(terms.sends):
        detail = f"further vectors {_listed(more)}: the plan asks for {_listed(terms.sends)}"
        return Rejection(Reason.WRONG_KIND, detail)
    lengths: dict[str, float] = {}
    for name, body in more.items():
        further = _decoded(codec, terms, message, name, body)
        if isinstance(further, Rejection):
            return further
        length, most = distance(np.zeros_like(further), further), terms.longest.get(name, math.inf)
        if length > most:
            return Rejection(
                Reason.TOO_FAR,
                f"{name} has the length {length:.3g}, at most {most:.3g} is admitted ([rounds] max_norm): "
                "look for samples out of range in the device's data",
            )
        lengths[name] = length
    vector = _decoded(codec, terms, message, WEIGHTS, message.body)
    if isinstance(vector, Rejection):
        return vector
    if start is None:
        return Admitted(message.samples, lengths=lengths)
    weights = completed(terms.shared, codec, vector, start)
    if weights is not vector and not _finite_in_float32(weights):
        return Rejection(Reason.NOT_FINITE, "the sum of the model and this change is not finite in float32")
    norm = distance(start, weights)
    if terms.furthest is not None and norm > terms.furthest:
        return Rejection(
            Reason.TOO_FAR,
            f"the weights are {norm:.3g} from the model's, at most {terms.furthest:.3g} is admitted "
            "([rounds] max_norm): look for samples out of range in the device's data",
        )
    lengths[WEIGHTS] = norm
    return Admitted(message.samples, lengths=lengths)


def judge_all(terms: "Terms", messages: Sequence[Update]) -> list[Admitted | Rejection]:
    """As `judge`, of each: those with all weights as plain float32 are measured together.

    A length is finite exactly if each weight is. So only what has no finite length, or is too far, is looked
    at again, to say why it is refused.
    """
    found: list[Admitted | Rejection | None] = [None] * len(messages)
    plain = [number for number, message in enumerate(messages) if _is_plain(terms, message)]
    together = max(1, TOGETHER // max(1, terms.weights))
    for few in (plain[at : at + together] for at in range(0, len(plain), together)):
        assert terms.start is not None
        bodies = b"".join(messages[number].body for number in few)
        vectors = np.frombuffer(bodies, "<f4").astype(np.float32, copy=False).reshape(len(few), terms.weights)
        with np.errstate(all="ignore"):
            norms = distances(terms.start, vectors)
        for number, norm in zip(few, norms, strict=True):
            if norm <= (math.inf if terms.furthest is None else terms.furthest) and norm < math.inf:
                found[number] = Admitted(messages[number].samples, lengths={WEIGHTS: norm})
    return [
        judge(terms, message) if each is None else each for each, message in zip(found, messages, strict=True)
    ]


def _is_plain(terms: "Terms", message: Update) -> bool:
    """Whether all that is to be judged of an update is its distance, and that is one of float32 weights."""
    return (
        message.codec == terms.codec == FLOAT32
        and len(message.body) == 4 * terms.weights
        and 1 <= message.samples <= terms.max_samples
        and message.kind == wire.WEIGHTS
        and not (message.cluster or message.vectors or terms.sends)
        and terms.shared is None
        and terms.start is not None
    )


def _finite_in_float32(vector: NDArray[np.floating[Any]]) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(vector.astype(np.float32)).all())


def _decoded(
    codec: Codec, terms: "Terms", message: Update, name: str, body: bytes
) -> NDArray[np.float32] | Rejection:
    """One vector of an update, finite and of the right length."""
    size = sent_entries(terms.shared, terms.weights)
    most = codec.max_bytes(size)
    if len(body) > most:
        detail = f"{terms.codec}: {len(body)} bytes where {size} weights take {most} at most"
        return Rejection(Reason.WRONG_LENGTH, detail)
    try:
        seed = vector_seed(terms.seed, *round_of(message), message.device, name)
        vector = codec.decode(body, size, seed)
        require_vector(f"the codec {terms.codec}", vector, size)
    except ProtocolError as error:
        return Rejection(Reason.WRONG_LENGTH, str(error))
    except Exception as error:  # a codec may be third-party code, and what it reads comes from the network
        return Rejection(Reason.MALFORMED, f"{name}: the codec {terms.codec!r} cannot read it: {error!r}")
    # One pass without a mask of p booleans: a sum is finite unless a term is not, or it overflows, and
    # only then every entry is looked at.
    with np.errstate(all="ignore"):
        suspicious = not np.isfinite(np.dot(vector, vector))
    if suspicious and not np.isfinite(vector).all():
        worst = int(np.argmax(~np.isfinite(vector)))
        what = "weight" if name == WEIGHTS else f"entry of {name}"
        return Rejection(Reason.NOT_FINITE, f"{what} {worst} is {vector[worst]}")
    return vector


def _listed(names: Mapping[str, object] | Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "none"
