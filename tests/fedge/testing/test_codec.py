"""`check_codec` passes what is right, and names the law that each broken sample breaks."""

from typing import Any, ClassVar

import numpy as np
import pytest

from examples.extend import sparse
from fedge.algorithms.codecs.float32 import Float32
from fedge.algorithms.registry import CODECS
from fedge.errors import ProtocolError
from fedge.testing import BrokenLaw, check_codec

Array = np.ndarray


@pytest.mark.parametrize("name", CODECS.names())
def test_the_built_in_ones_keep_the_laws(name: str) -> None:
    check_codec(CODECS.entries()[name])


def test_float32_gives_back_each_bit() -> None:
    check_codec(CODECS.entries()["float32"], tolerance=0)


@pytest.mark.parametrize("share", [0.01, 0.1, 1.0])
def test_the_one_with_a_state_keeps_the_laws(share: float) -> None:
    check_codec(sparse.ENTRY, {"share": share}, tolerance=1.0)


class Lossy(Float32):
    """What derives from it promises nothing."""

    exact: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False


class NoWord(Float32):
    encodes: ClassVar[Any] = "gradient"


class SaysNotWhetherExact(Float32):
    exact: ClassVar[Any] = None


class RoundsAndSaysExact(Float32):
    def encode(self, vector: Array, state: object = None, seed: object = None) -> Any:
        super().encode(vector)
        with np.errstate(over="ignore"):
            return super().encode(vector.astype(np.float16).astype(np.float32))


class ReadByOneSeedAlone(Float32):
    """Its order depends on the seed: it is lossless, but another seed reads something else."""

    def encode(self, vector: Array, state: object = None, seed: Any = None) -> Any:
        super().encode(vector)
        return super().encode(vector[np.random.default_rng(seed).permutation(vector.size)])

    def decode(self, body: bytes, size: int, seed: Any = None) -> Any:
        found = np.empty(size, np.float32)
        found[np.random.default_rng(seed).permutation(size)] = super().decode(body, size)
        found.flags.writeable = False
        return found


class RoundsTowardsZero(Float32):
    exact: ClassVar[bool] = False

    def encode(self, vector: Array, state: object = None, seed: object = None) -> Any:
        super().encode(vector)
        return super().encode((vector.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32))


class SaysHalfTheBits(Float32):
    def bits(self, size: int) -> float:
        return 16.0


class TakesFloat64(Float32):
    def encode(self, vector: Array, state: object = None, seed: object = None) -> Any:
        return super().encode(vector.astype(np.float32).ravel())


class LongerThanItSays(Float32):
    def max_bytes(self, size: int) -> int:
        return 4 * size - 1


class Unseeded(Lossy):
    """It draws from a generator of its own, and not from the one that it is given."""

    def encode(self, vector: Array, state: object = None, seed: object = None) -> Any:
        super().encode(vector)
        return super().encode(np.random.default_rng().normal(size=vector.size).astype(np.float32))


class GlobalNoise(Lossy):
    """Its noise is the same in one process, by a seed that anybody may have set."""

    def encode(self, vector: Array, state: object = None, seed: object = None) -> Any:
        super().encode(vector)
        return super().encode(vector * np.float32(np.random.random()))  # noqa: NPY002


class RemembersByItself(Lossy):
    def __init__(self) -> None:
        self.times = 0

    def encode(self, vector: Array, state: object = None, seed: object = None) -> Any:
        super().encode(vector)
        self.times += 1
        return super().encode(vector / np.float32(self.times))


class WritesToTheVector(Float32):
    def encode(self, vector: Array, state: object = None, seed: object = None) -> Any:
        body = super().encode(vector)
        vector += 1
        return body


class Residual(sparse.Sparse):
    def __init__(self) -> None:
        super().__init__(sparse.SparseOptions())


class WritesToTheState(Residual):
    def encode(self, vector: Array, state: Any, seed: int) -> Any:
        body, after = super().encode(vector, state, seed)
        state["residual"][...] = after["residual"]
        return body, after


class StateAppliedTwice(Residual):
    def encode(self, vector: Array, state: Any, seed: int) -> Any:
        return super().encode(vector, {"residual": 2 * state["residual"]}, seed)


class ForgetsWhatItLost(Residual):
    def encode(self, vector: Array, state: Any, seed: int) -> Any:
        body, after = super().encode(vector, state, seed)
        return body, {"residual": np.zeros_like(after["residual"])}


class StateGrows(Residual):
    def encode(self, vector: Array, state: Any, seed: int) -> Any:
        body, after = super().encode(vector, state, seed)
        return body, {**after, f"round-{len(state)}": vector}


class StateNotFinite(Residual):
    def encode(self, vector: Array, state: Any, seed: int) -> Any:
        body, after = super().encode(vector, state, seed)
        return body, {"residual": after["residual"] / np.float32(0)}


class StateOfObjects(Float32):
    def init(self, size: int) -> Any:
        return {"seen": np.array([None])}


class DecodesFloat64(Float32):
    def decode(self, body: bytes, size: int, seed: object = None) -> Any:
        return super().decode(body, size).astype(np.float64)


class DecodesToOneMore(Float32):
    def decode(self, body: bytes, size: int, seed: object = None) -> Any:
        return np.append(super().decode(body, size), np.float32(0))


class DecodesToNan(Lossy):
    def decode(self, body: bytes, size: int, seed: object = None) -> Any:
        vector = super().decode(body, size)
        with np.errstate(all="ignore"):
            found = vector / np.abs(vector).max() * np.abs(vector).max()
        found.flags.writeable = False
        return found


class Writable(Float32):
    def decode(self, body: bytes, size: int, seed: object = None) -> Any:
        return super().decode(body, size).copy()


class FailsOnGarbage(Float32):
    def decode(self, body: bytes, size: int, seed: object = None) -> Any:
        vector = np.frombuffer(body, "<f4").reshape(size)  # which raises ValueError
        vector.flags.writeable = False
        return vector


class TakesMoreThanItMakes(Float32):
    def decode(self, body: bytes, size: int, seed: object = None) -> Any:
        if len(body) < 4 * size:
            raise ProtocolError("too short")
        return super().decode(body[: 4 * size], size)


class TrustsALength(Float32):
    """The first four bytes say how many numbers follow, and room is made before they are counted."""

    def encode(self, vector: Array, state: object = None, seed: object = None) -> Any:
        body, after = super().encode(vector)
        return vector.size.to_bytes(4, "little") + body, after

    def decode(self, body: bytes, size: int, seed: object = None) -> Any:
        room = np.empty(int.from_bytes(body[:4], "little") % 2**26, np.float32)
        if room.size != size:
            raise ProtocolError("another length")
        return super().decode(body[4:], size)

    def max_bytes(self, size: int) -> int:
        return 4 * size + 4


class SendsNothing(Lossy):
    def encode(self, vector: Array, state: object = None, seed: object = None) -> Any:
        super().encode(vector)
        return b"", {}

    def decode(self, body: bytes, size: int, seed: object = None) -> Any:
        if body:
            raise ProtocolError("not empty")
        return super().decode(bytes(4 * size), size)


class WrongSign(Lossy):
    def encode(self, vector: Array, state: object = None, seed: object = None) -> Any:
        return super().encode(-vector)


class WrongOrder(Lossy):
    def encode(self, vector: Array, state: object = None, seed: object = None) -> Any:
        return super().encode(np.ascontiguousarray(vector[::-1]))


class PlacesOf16Bits(Lossy):
    """The largest third and their places, of which only the lower 16 bits are written."""

    def encode(self, vector: Array, state: object = None, seed: object = None) -> Any:
        super().encode(vector)
        places = np.argsort(-np.abs(vector), kind="stable")[: self._kept(vector.size)]
        return places.astype(np.uint16).tobytes() + vector[places].tobytes(), {}

    def decode(self, body: bytes, size: int, seed: object = None) -> Any:
        kept = self._kept(size)
        if len(body) != 6 * kept:
            raise ProtocolError("another length")
        places = np.frombuffer(body, np.uint16, kept)
        if (places >= size).any():
            raise ProtocolError("no such place")
        vector = np.zeros(size, np.float32)
        vector[places] = np.frombuffer(body, np.float32, kept, 2 * kept)
        return super().decode(vector.tobytes(), size)

    def max_bytes(self, size: int) -> int:
        return 6 * self._kept(size)

    def _kept(self, size: int) -> int:
        return max(1, size // 3)


class LongerWhereLarge(Float32):
    def encode(self, vector: Array, state: object = None, seed: object = None) -> Any:
        body, after = super().encode(vector)
        return body + bytes(vector.size // 50_000), after

    def decode(self, body: bytes, size: int, seed: object = None) -> Any:
        return super().decode(body[: len(body) - size // 50_000], size)


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        ("carries", SendsNothing),
        ("carries", WrongSign),
        ("carries", WrongOrder),
        ("carries", PlacesOf16Bits),
        ("length", LongerWhereLarge),
        ("encodes", NoWord),
        ("encodes", SaysNotWhetherExact),
        ("exact", RoundsAndSaysExact),
        ("exact", ReadByOneSeedAlone),
        ("unbiased", RoundsTowardsZero),
        ("bits", SaysHalfTheBits),
        ("refuses", TakesFloat64),
        ("length", LongerThanItSays),
        ("seeded", Unseeded),
        ("seeded", GlobalNoise),
        ("hidden", RemembersByItself),
        ("arguments", WritesToTheVector),
        ("arguments", WritesToTheState),
        ("state", StateGrows),
        ("state", StateNotFinite),
        ("state", StateOfObjects),
        ("decoded", DecodesFloat64),
        ("decoded", DecodesToOneMore),
        ("decoded", DecodesToNan),
        ("decoded", Writable),
        ("accounts", StateAppliedTwice),
        ("accounts", ForgetsWhatItLost),
        ("garbage", FailsOnGarbage),
        ("garbage", TakesMoreThanItMakes),
        ("memory", TrustsALength),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_each_breach_is_found(law: str, broken: Any) -> None:
    with pytest.raises(BrokenLaw) as caught:
        check_codec(broken)
    assert caught.value.law == law


def test_less_than_was_promised_is_found() -> None:
    with pytest.raises(BrokenLaw) as caught:
        check_codec(sparse.ENTRY, {"share": 0.1}, tolerance=0.1)
    assert caught.value.law == "promise"
    with pytest.raises(BrokenLaw) as caught:
        check_codec(sparse.ENTRY, {"share": 0.1}, tolerance=0)
    assert caught.value.law == "promise"
