"""Check that the algorithm's state on a device contains each of its admitted updates exactly once.

In worlds with a stateful algorithm a stand-in's state is the list of its updates that counted (`counted`).
The checks compare it with the ledger of the aggregator that announced the round.
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
"""The only array of a stand-in's state: the first bytes of its updates' digests, as whole numbers."""


def mark(digest: bytes) -> int:
    """The number by which a stand-in remembers an update."""
    return int.from_bytes(digest[:7], "big")


def counted(state: AlgorithmState | None, lineage: bytes) -> tuple[int, ...]:
    """The updates that a state contains; none if it belongs to another lineage."""
    if state is None or state.lineage != lineage:
        return ()
    return tuple(int(entry) for entry in unpack(state.data)[COUNTED])


class States:
    """Checks the states of the algorithm on all devices."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._made: dict[str, dict[bytes, AlgorithmState]] = {}
        """The states that each device saved with its updates since its last reset, by the update's digest."""
        self._restored: set[str] = set()
        """Devices with an older copy of their memory; nothing shows that their state is older."""
        self._announcers: dict[tuple[RoundId, bytes | None], Book] = {}
        """The ledger from which a round and model were announced."""

    def announces(self, book: Book, manifest: Manifest) -> None:
        """Note that the aggregator with this ledger announces a round."""
        model = manifest.model.digest if manifest.model is not None else None
        self._announcers[round_of(manifest), model] = book

    def saved(self, device: str, digest: bytes, pending: AlgorithmState | None) -> None:
        """Note that the device has saved an update with its pending state."""
        if pending is not None:
            self._made.setdefault(device, {})[digest] = pending

    def forgets(self, device: str, digest: bytes) -> None:
        """Check a device that has saved a reset of its state after the verdict `forgotten` on this update."""
        if not self._record.reasons.get((device, digest), set()) & NOT_KNOWN:
            raise Violation(
                Invariant.STATE_COUNTS_ONCE,
                f"{device} resets its state after {short(digest)}, but the verdict on that is known",
            )
        self._begins_anew(device)

    def resets(self, device: str, current: RoundId | None, heard: RoundId | None) -> None:
        """Check a device that has saved a reset because its state belongs to another history."""
        if current is None or (heard is not None and heard > current):
            raise Violation(
                Invariant.STATE_COUNTS_ONCE,
                f"{device} resets its state of round {current} although the newest round it knows is {heard}",
            )
        self._begins_anew(device)

    def makes_up_for_reset(self, device: str) -> None:
        """Note that the device has saved a reset which its disk had not taken before."""
        self._begins_anew(device)

    def _begins_anew(self, device: str) -> None:
        self._made.pop(device, None)
        self._restored.discard(device)

    def replaced(self, device: str, *, wiped: bool) -> None:
        """Note that the device's memory is empty or an older copy."""
        self._made.pop(device, None)
        if not wiped:
            self._restored.add(device)

    def work_begins(
        self, device: str, manifest: Manifest, state: AlgorithmState | None, lineage: bytes
    ) -> None:
        """Check the state with which a device begins to train."""
        here, found = round_of(manifest), counted(state, lineage)
        other = self._of_other_generations(device, found, here)
        if other:
            raise self._wrong(device, here, f"contains updates of the generations {other}")
        if not found:
            self._restored.discard(device)
        if device in self._restored:
            return
        if len(set(found)) != len(found):
            raise self._wrong(device, here, "contains an update twice")
        model = manifest.model.digest if manifest.model is not None else None
        book = self._announcers.get((here, model))
        left = set(found)
        for digest, pending in self._made.get(device, {}).items():
            told, one = self._record.receipts.get((device, digest), ()), mark(digest)
            counts = book is not None and book.answers.get((device, digest)) == "admitted"
            here_too = pending.lineage == lineage and pending.round < here
            left.discard(one)
            if one in found and "admitted" not in told:
                raise self._wrong(device, here, f"contains {short(digest)}, which never counted")
            if one not in found and here_too and counts and "refused" not in told:
                raise self._wrong(device, here, f"lacks {short(digest)}, which counts in {pending.round}")
        if left:
            raise self._wrong(device, here, "contains updates from before its reset")

    def _of_other_generations(self, device: str, found: tuple[int, ...], here: RoundId) -> list[int]:
        """The other generations of which a state contains updates."""
        if not found:
            return []
        of = {mark(digest): one.round for digest, one in self._record.made.items() if one.device == device}
        return sorted({of[each].generation for each in found if of[each].generation != here.generation})

    def _wrong(self, device: str, here: RoundId, what: str) -> Violation:
        return Violation(
            Invariant.STATE_COUNTS_ONCE,
            f"the state with which {device} begins to train in round {here} {what}",
        )
