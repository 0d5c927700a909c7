"""Requests frames of the task, the model and its key frame: a few at a time, and only those that are missing.

A broker sends a retained message to whoever subscribes to its topic. So the device subscribes to the topics
of single frames, to the next one when one has arrived. What the broker has in its queue for this device is
then bounded, and other messages wait for no more than that. After a reconnection the frames that this device
has are not sent again.
"""

from agent.shell.downloads import Downloads
from fedge.transport import Transport
from fedge.wire.messages.frame import Blob
from fedge.wire.topics import Topics

AT_ONCE = 8
"""The most frames that are requested at a time; AWS IoT Core takes 8 filters in a SUBSCRIBE."""
AT_ONCE_BYTES, FEWEST = 512 * 1_024, 2
"""No more frames at a time than have so many bytes together, but at least so many frames."""


class FrameRequests:
    """Subscribes to frames and unsubscribes from them.

    Args:
        topics: the federation's topics.
        link: the connection to the broker.
        downloads: what has arrived.
    """

    def __init__(self, topics: Topics, link: Transport, downloads: Downloads) -> None:
        self._topics, self._link, self._downloads = topics, link, downloads
        self._wanted: dict[str, Blob] = {}
        """What is requested, by kind: task, model or key."""
        self._asked: dict[tuple[str, int, int], None] = {}
        """Kind, slot and number of each frame that is subscribed to, in the order of the requests."""

    def begin(self, kind: str, blob: Blob) -> None:
        """Request the missing frames of a content, also those that were requested before."""
        self._downloads.expect(kind, blob)
        self._drop([asked for asked in self._asked if asked[0] == kind])
        self._wanted[kind] = blob
        self._ask(kind)

    def go_on(self, kind: str, i: int) -> None:
        """Request further frames, now that frame `i` has arrived."""
        if (blob := self._wanted.get(kind)) is not None:
            self._drop([asked for asked in self._asked if asked == (kind, blob.slot, i)])
            self._ask(kind)

    def stop(self) -> None:
        """Request nothing any more."""
        self._drop(list(self._asked))
        self._wanted.clear()

    def forget(self) -> None:
        """Forget the subscriptions of a connection that has ended."""
        self._asked.clear()

    def _ask(self, kind: str) -> None:
        blob = self._wanted[kind]
        missing = self._downloads.missing(kind, blob)
        room = min(AT_ONCE, max(FEWEST, AT_ONCE_BYTES * blob.frames // blob.size))
        room -= sum(asked[0] == kind for asked in self._asked)
        frames = [(kind, blob.slot, i) for i in missing]
        new = [frame for frame in frames if frame not in self._asked][: max(0, room)]
        self._asked.update(dict.fromkeys(new))
        self._link.subscribe(*map(self._topic, new))

    def _drop(self, asked: list[tuple[str, int, int]]) -> None:
        for begin in range(0, len(asked), AT_ONCE):
            self._link.unsubscribe(*map(self._topic, asked[begin : begin + AT_ONCE]))
        for each in asked:
            del self._asked[each]

    def _topic(self, asked: tuple[str, int, int]) -> str:
        kind, slot, i = asked
        topics = {"task": self._topics.task, "model": self._topics.model, "key": self._topics.key}
        return topics[kind](slot, i)
