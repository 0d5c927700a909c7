"""Holds the newest update as frames, to be sent again."""

from collections.abc import Callable, Iterator
from itertools import takewhile

from agent.shell.memory import Memory
from fedge.wire.frames import Split, asking, frame_bytes, split
from fedge.wire.freshness import RoundId


class Outbox:
    """The frames of the newest update, made once from the bytes in the memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._frames: Split | None = None

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
    ) -> Iterator[bytes] | None:
        """Iterate over frames of the update. Each is made when the link has room for it.

        Args:
            digest: the digest of the update.
            numbers: the numbers of the frames; None: all. Frames that it does not have are left out.
            asks: if set, frame 0 asks for the verdict on the update in this round.
            room: the most bytes of a frame's payload. If frames of the present cut do not fit, the update is
                cut anew; otherwise its cut stays, because the aggregator may have some of the frames.
            wanted: returns whether the next frame is still to be sent. By then an answer may have come.

        Returns:
            The packed frames; None: the memory does not have this update.
        """
        if self._frames is None or self._frames.id != digest:
            payload = self._memory.payload(digest)
            if payload is None:
                return None
            self.put(payload, room)
        elif self._frames.frame_bytes > (most := frame_bytes(len(self._frames.message), room)):
            self._frames = split(self._frames.message, most)
        frames = self._frames
        assert frames is not None
        chosen = range(len(frames)) if numbers is None else [i for i in numbers if i < len(frames)]
        pieces = takewhile(lambda _: wanted(), chosen)
        return (frames[i] if i or asks is None else asking(frames[i], asks) for i in pieces)
