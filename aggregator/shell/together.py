"""Updates of one turn that wait to be handled together, with the messages that brought them."""

from aggregator.core.events import WholeUpdate
from fedge.transport import MessageArrived

MOST = 64
MOST_BYTES = 2**20
"""So many updates, or bytes, are handled at once at the latest: each is held a second time until then."""


class Together:
    """At most one update of each device, in the order in which they came."""

    def __init__(self) -> None:
        self._messages: list[MessageArrived] = []
        self._updates: dict[str, WholeUpdate] = {}
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._updates)

    def __contains__(self, device: str) -> bool:
        return device in self._updates

    @property
    def full(self) -> bool:
        """Whether no more should wait."""
        return len(self._messages) >= MOST or self._bytes >= MOST_BYTES

    def add(self, message: MessageArrived, update: WholeUpdate) -> None:
        """Let one wait; of its device none waits yet."""
        self._messages.append(message)
        self._updates[update.device] = update
        self._bytes += len(message.payload)

    def take(self) -> tuple[tuple[WholeUpdate, ...], list[MessageArrived]]:
        """Take them all out."""
        updates, messages = tuple(self._updates.values()), self._messages
        self._messages, self._updates, self._bytes = [], {}, 0
        return updates, messages
