"""Check that a device which wakes up can read everything that is announced at the broker."""

from collections.abc import Callable

from fedge.wire.frames import join
from fedge.wire.freshness import round_of
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.service import Service
from fedge.wire.reasons import Rejection
from fleet.simulator.fastpaths import decode
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.record import Record, opened
from fleet.simulator.sessions import Message


class Retained:
    """Checks the messages that the broker retains."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._held = (0, 0, 0)
        """Generation, round and attempt of the newest manifest that the broker has retained."""

    def changed(self, retained: dict[str, Message], topic: str) -> None:
        """Check, after a change of a retained message, that all that is announced can be read."""
        address = self._record.address(topic)
        if address is None:
            return
        if address.kind == "service" and decode(retained[topic].payload, Service).online:
            self._record.online_s = self._record.now_s()
        if address.kind == "status" and address.device is not None:
            self._record.told_s[address.device] = self._record.now_s()
        if address.kind not in ("round", "task", "model", "key"):
            return
        said = retained.get(self._record.topics.round)
        if (
            said is None
            or said.payload in self._record.orphaned
            or self._record.now_s() < self._record.several_until_s
        ):
            return
        manifest = opened(said.payload)
        number = (*round_of(manifest), manifest.attempt)
        if number < self._held:
            return  # a killed broker lost the newer one; it is published again, after its frames
        self._held = number
        for kind, blob, frame in (
            ("task", manifest.task, self._record.topics.task),
            ("model", manifest.coded or manifest.model, self._record.topics.model),
            ("key", manifest.key, self._record.topics.key),
        ):
            # A frame of another kind or slot than the announced ones does not affect what can be read.
            if blob is not None and (
                address.kind == "round" or (address.kind, address.slot) == (kind, blob.slot)
            ):
                self._readable(retained, kind, blob, frame)

    def _readable(
        self, retained: dict[str, Message], kind: str, blob: Blob, topic: Callable[[int, int], str]
    ) -> None:
        frames = [retained.get(topic(blob.slot, i)) for i in range(blob.frames)]
        whole = join(blob.digest, [decode(f.payload, Frame).data for f in frames if f is not None])
        if isinstance(whole, Rejection):
            raise Violation(
                Invariant.ANNOUNCED_IS_READABLE,
                f"the announced {kind} cannot be read by a device that wakes up now",
            )
