"""Holds the newest update as frames, to be sent again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from agent.shell.memory import Memory
from fedge.wire.frames import Split, asking, frame_bytes, split
from fedge.wire.freshness import RoundId


@dataclass(frozen=True, eq=False)
class FramesSent:
    """The token of frames on their way to the broker."""

    digest: bytes
    numbers: frozenset[int]


class Outbox:
    """The frames of the newest update, made once from the bytes in the memory; and which are on their way."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._frames: Split | None = None
        self._under_way: set[FramesSent] = set()

    def put(self, payload: bytes, room: int) -> None:
        """Keep the frames of a new update, which the memory has saved by now; `room` as in `frames`."""
        self._frames = split(payload, frame_bytes(len(payload), room))

    def frames(
        self,
        digest: bytes,
        numbers: tuple[int, ...] | None,
        asks: RoundId | None,
        wanted: Callable[[], bool],
        room: int,
    ) -> tuple[Iterator[bytes], FramesSent] | None:
        """Iterate over frames of the update. Each is made when the link has room for it.

        Frames that are on their way already are left out. While any are, the update is not repeated either:
        a receipt would name as missing what only waits for the line.

        Args:
            digest: the digest of the update.
            numbers: the numbers of the frames; None: all. Frames that it does not have are left out.
            asks: if set, frame 0 asks for the verdict on the update in this round.
            room: the most bytes of a frame's payload. If frames of the present cut do not fit, the update is
                cut anew; otherwise its cut stays, because the aggregator may have some of the frames.
            wanted: returns whether the next frame is still to be sent. By then an answer may have come.

        Returns:
            The packed frames, and the token to send them with; None: nothing is to be sent, or the memory
            does not have this update.
        """
        if self._frames is None or self._frames.id != digest:
            payload = self._memory.payload(digest)
            if payload is None:
                return None
            self.put(payload, room)
        elif self._frames.frame_bytes > (most := frame_bytes(len(self._frames.message), room)):
            self._frames = split(self._frames.message, most)
            self.forget()
        frames = self._frames
        assert frames is not None
        chosen = range(len(frames)) if numbers is None else [i for i in numbers if i < len(frames)]
        if asks is None:
            under_way = {i for sent in self._under_way if sent.digest == digest for i in sent.numbers}
            repeats = numbers == (0,) and len(frames) > 1
            chosen = [] if repeats and under_way else [i for i in chosen if i not in under_way]
        if not chosen:
            return None
        sent = FramesSent(digest, frozenset(chosen))
        self._under_way.add(sent)
        pieces = takewhile(lambda _: wanted(), chosen)
        return (frames[i] if i or asks is None else asking(frames[i], asks) for i in pieces), sent

    def end(self, sent: FramesSent) -> None:
        """Note that the broker has answered these frames, or refuses them."""
        self._under_way.discard(sent)

    def forget(self) -> None:
        """Forget what was on its way on a connection that has ended."""
        self._under_way.clear()
