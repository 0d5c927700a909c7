"""Measure what each codec costs and saves, on one core, with the 199,210 weights of a 784-200-200-10 network.

    python -m benchmarks.codecs           # --quick: fewer turns; --json: one JSON object

All codecs of the registry are measured, with their default options and once with each other word that an
option may have, on a vector of normally distributed entries. A codec with a state has encoded a few vectors
before. In the same run: `memcpy`, which copies the vector, and `zlib` level 1, which compresses its float32
bytes. All of them take turns, and the fastest turn of each counts, in seconds of the processor. GB/s are 10⁹
bytes of the float32 vector, whatever the codec makes of them.

The speeds that encoding has to reach are those of codecs with their default options. No codec, with any
option, must make a round slower: encoding and decoding an update have to take less time than a line of
10 Mbit/s would take for the bytes that the codec saves.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import description
from benchmarks.verdict import Goal, arguments, judged
from fedge.algorithms.protocols import Codec, State
from fedge.algorithms.registry import CODECS, Entry

WEIGHTS = 784 * 200 + 200 + 200 * 200 + 200 + 200 * 10 + 10
TURNS, QUICK_TURNS = 200, 40
ROUNDS_BEFORE = 5
"""Vectors that a codec with a state has encoded before it is measured."""
LINE_BPS = 10e6
ENCODE_GOALS: Mapping[str, float] = {"int8": 0.5, "topk": 0.2, "drive": 0.1}
"""GB/s that encoding has to reach with the default options."""
SEED = 5
PEERS = ("memcpy", "zlib 1")


@dataclass(frozen=True)
class Cost:
    """What a codec, or a peer, makes of one vector, and what that costs."""

    name: str
    size: int
    """Bytes of the encoded vector."""
    bits: float
    """Bits for each weight."""
    error: float
    """‖decoded - given‖² / ‖given‖² in the first round; a residual brings in later ones what is missing."""
    encode_s: float
    decode_s: float

    def speed(self, seconds: float, weights: int) -> float:
        """GB/s of float32."""
        return 4 * weights / seconds / 1e9

    def saved_s(self, weights: int) -> float:
        """The seconds that the saved bytes would take on the line."""
        return 8 * (4 * weights - self.size) / LINE_BPS


@dataclass(frozen=True)
class Contender:
    """Three functions: `encode` makes the bytes that `decode` reads, and `first` those of the first round."""

    name: str
    encode: Callable[[], bytes]
    decode: Callable[[bytes], NDArray[np.float32]]
    first: Callable[[], bytes]


def vector_of(weights: int) -> NDArray[np.float32]:
    """A change of the weights: normally distributed, some hundredths large."""
    return np.random.default_rng(SEED).normal(0.0, 0.02, weights).astype(np.float32)


def choices(entry: Entry[Codec]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The options to measure, each with a name: the defaults, and each other word of an option alone."""
    yield entry.name, {}
    for option, field in entry.options.model_fields.items():
        words = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        for word in words:
            if word != field.default:
                yield f"{entry.name} {word}", {option: word}


def contender(name: str, codec: Codec, vector: NDArray[np.float32]) -> Contender:
    """A codec, with the state that it has after some rounds."""
    first = codec.init(vector.size)
    state: State = first
    for round_ in range(ROUNDS_BEFORE if first else 0):
        _, state = codec.encode(np.roll(vector, round_), state, round_)
    return Contender(
        name,
        lambda: codec.encode(vector, state, SEED)[0],
        lambda body: codec.decode(body, vector.size, SEED),
        lambda: codec.encode(vector, first, SEED)[0],
    )


def peers(vector: NDArray[np.float32]) -> list[Contender]:
    """What copies, and what compresses without knowing of float32."""
    copy, raw = np.empty_like(vector), vector.tobytes()

    def copied() -> bytes:
        np.copyto(copy, vector)
        return raw

    def copied_back(body: bytes) -> NDArray[np.float32]:
        np.copyto(copy, np.frombuffer(body, np.float32))
        return copy

    def compressed() -> bytes:
        return zlib.compress(raw, 1)

    def decompressed(body: bytes) -> NDArray[np.float32]:
        return np.frombuffer(zlib.decompress(body), np.float32)

    return [
        Contender(PEERS[0], copied, copied_back, copied),
        Contender(PEERS[1], compressed, decompressed, compressed),
    ]


def measure(turns: int, weights: int = WEIGHTS) -> list[Cost]:
    """Measure all codecs of the registry, then the peers."""
    vector = vector_of(weights)
    contenders = [
        contender(name, entry.made(options), vector)
        for _, entry in sorted(CODECS.entries().items())
        for name, options in choices(entry)
    ]
    contenders += peers(vector)
    made = {each.name: each.encode() for each in contenders}
    best = {each.name: [float("inf"), float("inf")] for each in contenders}
    for _ in range(turns):
        for each in contenders:
            body, times = made[each.name], best[each.name]
            times[0] = min(times[0], _seconds(each.encode))
            times[1] = min(times[1], _seconds(partial(each.decode, body)))
    costs = []
    for each in contenders:
        body, (encode_s, decode_s) = made[each.name], best[each.name]
        off = each.decode(each.first()).astype(np.float64) - vector
        error = float(off @ off) / float(vector.astype(np.float64) @ vector)
        costs.append(Cost(each.name, len(body), 8 * len(body) / weights, error, encode_s, decode_s))
    return costs


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def goals(costs: Sequence[Cost], weights: int = WEIGHTS) -> list[Goal]:
    """The speed of three codecs, and that of every codec that saves bytes."""
    found = [
        Goal(
            f"{cost.name}, GB/s encoded", cost.speed(cost.encode_s, weights), at_least=ENCODE_GOALS[cost.name]
        )
        for cost in costs
        if cost.name in ENCODE_GOALS
    ]
    return found + [
        Goal(
            f"{cost.name}, time as a share of what its bytes save",
            (cost.encode_s + cost.decode_s) / cost.saved_s(weights),
            at_most=1.0,
        )
        for cost in costs
        if cost.name not in PEERS and cost.saved_s(weights) > 0
    ]


def report(costs: Sequence[Cost], weights: int = WEIGHTS) -> dict[str, object]:
    """For programs."""
    return {
        "machine": description(),
        "weights": weights,
        "codecs": [
            {
                **asdict(cost),
                "encode_gb_s": cost.speed(cost.encode_s, weights),
                "decode_gb_s": cost.speed(cost.decode_s, weights),
                "saved_s": cost.saved_s(weights),
            }
            for cost in costs
        ],
    }


def table(costs: Sequence[Cost], weights: int = WEIGHTS) -> str:
    """For people."""
    lines = [
        f"{description()}; {weights:,} weights",
        f"{'':<14}{'bytes':>9}{'bits':>7}{'error':>10}{'encode':>13}{'decode':>13}{'both':>9}{'saves':>9}",
    ]
    for cost in costs:
        speeds = (cost.speed(seconds, weights) for seconds in (cost.encode_s, cost.decode_s))
        both = 1e3 * (cost.encode_s + cost.decode_s)
        lines.append(
            f"{cost.name:<14}{cost.size:>9,}{cost.bits:>7.2f}{cost.error:>10.2g}"
            + "".join(f"{speed:>8.2f} GB/s" for speed in speeds)
            + f"{both:>6.1f} ms{1e3 * cost.saved_s(weights):>6.0f} ms"
        )
    return "\n".join([*lines, "saves: what the bytes less than float32's would take at 10 Mbit/s"])


def main() -> int:
    options = arguments(__doc__, f"{QUICK_TURNS} turns instead of {TURNS}").parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    costs = measure(QUICK_TURNS if options.quick else TURNS)
    return judged(report(costs), table(costs), goals(costs), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
