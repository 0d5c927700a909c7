"""The largest update that the open round admits: its bytes, its distance, and its further vectors. Pure."""

from functools import lru_cache

from aggregator.core.federation import Federation
from aggregator.core.parts import Part
from aggregator.core.shared_entries import sent_entries, shared_by
from fedge.algorithms.registry import CODECS, LOCAL
from fedge.latest import latest_of


@latest_of("plan", "rule", "server", "seed", "weights", "task_message")
def max_bytes(state: Federation) -> int:
    """A bound on the bytes of any update or survey of this task: its vectors and 64 KiB for the rest."""
    parts, task = state.parts, state.task_message
    columns = len(task.features) + len(task.outputs)
    weights = sent_entries(shared_by(parts.personal, task.network), state.weights)
    return _max_vector_bytes(parts.codec, parts.local, weights) + 24 * columns + 65_536


def max_distance(state: Federation) -> float | None:
    """The largest distance of an update's weights from the model; None: any distance is admitted."""
    return state.rules.max_norm * state.usual.back(state.rules.max_staleness or 0) or None


def max_lengths(state: Federation) -> dict[str, float]:
    """The largest length of each further vector of an update; one that is not listed may have any length."""
    lengths = {name: state.rules.max_norm * length for name, length in state.usual.lengths.items()}
    return {name: length for name, length in lengths.items() if length}


@lru_cache(maxsize=16)
def _max_vector_bytes(codec: Part, local: Part, size: int) -> int:
    """A bound on the bytes of all vectors of an update, each of `size` entries."""
    return codec.made(CODECS).max_bytes(size) * (1 + len(local.made(LOCAL).sends))
