"""A device's state of an algorithm is that of its admitted updates: each once, and none left out.

The stand-ins of a stateful world remember nothing but which of their updates counted (`counted`): so what a
device believes is compared with what the ledger of whoever announced the round holds.
"""

from agent.core.lifecycle.report import NOT_KNOWN
from agent.core.state import AlgorithmState
from agent.trainers.states import unpack
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.manifest import Manifest
from fleet.simulator.books import Book
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.record import Record, short

COUNTED = "local/counted"
"""The one array of a stand-in's state: the beginnings of its updates' digests, as whole numbers."""


def mark(digest: bytes) -> int:
    """How a stand-in remembers an update."""
    return int.from_bytes(digest[:7], "big")


def counted(state: AlgorithmState | None, lineage: bytes) -> tuple[int, ...]:
    """The updates that a state came of, if it is of this lineage."""
    if state is None or state.lineage != lineage:
        return ()
    return tuple(int(entry) for entry in unpack(state.data)[COUNTED])


class States:
    """What devices remember of their updates."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._made: dict[str, dict[bytes, AlgorithmState]] = {}
        """The states that were saved with updates since each device began anew, by the update's digest."""
        self._restored: set[str] = set()
        """Devices with an older copy of their memory, whose state nobody can know to be older."""
        self._announcers: dict[tuple[RoundId, bytes | None], Book] = {}
        """Whose ledger an announced round and model are of."""

    def announces(self, book: Book, manifest: Manifest) -> None:
        """An aggregator with this ledger announces a round."""
        model = manifest.model.digest if manifest.model is not None else None
        self._announcers[round_of(manifest), model] = book

    def saved(self, device: str, digest: bytes, pending: AlgorithmState | None) -> None:
        """An update is durable on the device, with the state that waits for its verdict."""
        if pending is not None:
            self._made.setdefault(device, {})[digest] = pending

    def forgets(self, device: str, digest: bytes) -> None:
        """It is durable on a device that its algorithm begins anew, after the answer to this update."""
        if not self._record.reasons.get((device, digest), set()) & NOT_KNOWN:
            raise Violation(
                Invariant.STATE_COUNTS_ONCE,
                f"{device} gives up its state after {short(digest)}, and what became of that is known",
            )
        self._begins_anew(device)

    def resets(self, device: str, current: RoundId | None, heard: RoundId | None) -> None:
        """It is durable on a device that its algorithm begins anew, for its state is of another history."""
        if current is None or (heard is not None and heard > current):
            raise Violation(
                Invariant.STATE_COUNTS_ONCE,
                f"{device} gives up its state of round {current} when it has heard of round {heard}",
            )
        self._begins_anew(device)

    def _begins_anew(self, device: str) -> None:
        self._made.pop(device, None)
        self._restored.discard(device)

    def replaced(self, device: str, *, wiped: bool) -> None:
        """Its memory is empty, or an older copy."""
        self._made.pop(device, None)
        if not wiped:
            self._restored.add(device)

    def work_begins(
        self, device: str, manifest: Manifest, state: AlgorithmState | None, lineage: bytes
    ) -> None:
        """A device begins to train with this state."""
        here, found = round_of(manifest), counted(state, lineage)
        if not found:
            self._restored.discard(device)
        if device in self._restored:
            return
        if len(set(found)) != len(found):
            raise self._wrong(device, here, "holds an update twice")
        model = manifest.model.digest if manifest.model is not None else None
        book = self._announcers.get((here, model))
        left = set(found)
        for digest, pending in self._made.get(device, {}).items():
            told, one = self._record.receipts.get((device, digest), ()), mark(digest)
            counts = book is not None and book.answers.get((device, digest)) == "admitted"
            here_too = pending.lineage == lineage and pending.round < here
            left.discard(one)
            if one in found and "admitted" not in told:
                raise self._wrong(device, here, f"holds {short(digest)}, of which nobody said that it counts")
            if one not in found and here_too and counts and "refused" not in told:
                raise self._wrong(device, here, f"lacks {short(digest)}, which counts in {pending.round}")
        if left:
            raise self._wrong(device, here, "holds updates of before it began anew")

    def _wrong(self, device: str, here: RoundId, what: str) -> Violation:
        return Violation(
            Invariant.STATE_COUNTS_ONCE,
            f"the state with which {device} begins to train in round {here} {what}",
        )
