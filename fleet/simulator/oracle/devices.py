"""A device says nothing that it would forget, answers the newest round, and each only once."""

from collections.abc import Hashable

from fedge.transport import Publication
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.envelope import Signed
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.status import Status
from fleet.simulator.fastpaths import decode
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.record import LATENESS_S, Record, attempt_name, opened, short


class Devices:
    """What devices have saved, heard and said."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._said: dict[tuple[str, RoundId, bytes], bytes] = {}
        """Which update each device has published of a round, and of what that was made from."""
        self._bases: dict[tuple[str, RoundId], tuple[bytes, bytes | None]] = {}
        """What each device has heard that a round is made from."""
        self._changes: dict[str, int] = {}
        """How often the signing key was changed, as far as each device has heard."""
        self._outbox: dict[str, set[bytes]] = {}
        self._newest_heard: dict[str, RoundId] = {}
        self._heard_in_time: dict[str, set[RoundId]] = {}
        self._saw: dict[Hashable, RoundId] = {}
        """The newest round that is durable on each disk as one that its device has seen."""
        self._started: set[str] = set()
        self._first_disks: set[Hashable] = set()
        """Those that devices began with; on others a model may lie that is newer than the rest."""

    def saved(self, device: str, digest: bytes) -> None:
        """An update is durable on the device."""
        self._outbox.setdefault(device, set()).add(digest)

    def learnt(self, device: str, digest: bytes, verdict: str) -> None:
        """A verdict is durable on the device."""
        if verdict not in self._record.receipts.get((device, digest), ()):
            raise Violation(
                Invariant.VERDICT_WAS_GIVEN,
                f"{device} believes that its update {short(digest)} is {verdict}; nobody said so",
            )

    def outbox(self, device: str) -> frozenset[bytes]:
        """What is durable on a device now."""
        return frozenset(self._outbox.get(device, ()))

    def newest_heard(self, device: str) -> RoundId | None:
        """The newest round that a device has heard of, as far as it can remember that."""
        return self._newest_heard.get(device)

    def replaced(self, device: str, outbox: frozenset[bytes]) -> None:
        """Its state is wiped, or an older copy of it: with this in the outbox, and no memory of the rest."""
        self._outbox[device] = set(outbox)
        self._said = {key: digest for key, digest in self._said.items() if key[0] != device}
        self._newest_heard.pop(device, None)
        self._changes.pop(device, None)
        self._heard_in_time.pop(device, None)

    def saw(self, disk: Hashable, seen: RoundId | None) -> None:
        """It is durable on a disk that its device has seen a round; None: that it has to forget them."""
        self._saw[disk] = seen if seen is not None else RoundId(0, 0)

    def starts(self, device: str, disk: Hashable, seen: RoundId) -> None:
        """A device remembers what it saved, and no round that it only heard of."""
        if device not in self._started:
            self._first_disks.add(disk)
        self._started.add(device)
        if seen < (saved := self._saw.setdefault(disk, seen)):
            raise Violation(
                Invariant.SEEN_WHEN_DURABLE,
                f"{device} has saved that it saw round {saved}, and remembers {seen}",
            )
        self._newest_heard[device] = min(seen, self._newest_heard.get(device, seen))

    def says(self, device: str, disk: Hashable, piece: Publication, *, honest: bool = True) -> None:
        """A publication leaves a device; of one that was cloned, two lives may differ."""
        address = self._record.address(piece.topic)
        if address is not None and address.kind == "status" and disk in self._first_disks:
            holds = decode(piece.payload, Status).holds
            if holds in self._record.models and self._record.models[holds] > self._saw[disk]:
                raise Violation(
                    Invariant.SEEN_WHEN_DURABLE,
                    f"{device} follows the model of round {self._record.models[holds]}, and after a crash "
                    f"now would begin again from round {self._saw[disk]}",
                )
        if not honest or address is None or address.kind != "update":
            return
        frame = decode(piece.payload, Frame)
        if frame.id not in self._outbox.get(device, ()):
            raise Violation(
                Invariant.UPDATE_WHEN_DURABLE, f"{device} publishes an update that a crash now would forget"
            )
        made = self._record.made[frame.id]
        answer = (device, made.round, made.message.base)
        if self._said.get(answer) in self._record.void:
            del self._said[answer]
        if self._said.setdefault(answer, frame.id) != frame.id:
            raise Violation(
                Invariant.ONE_ANSWER, f"{device} publishes two different updates of round {made.round}"
            )
        asks = frame.asks is not None and round_of(frame.asks) == made.round
        if frame.i == 0 and not asks and made.round < self._newest_heard.get(device, made.round):
            raise Violation(
                Invariant.ANSWERS_THE_NEWEST_ROUND,
                f"{device} answers round {self._newest_heard[device]} with its update of round {made.round}",
            )

    def hears(self, device: str, payload: bytes) -> None:
        """A manifest reaches a device; whether it is still open then decides what it may begin."""
        if payload not in self._record.genuine:
            return  # a forgery, and nothing may follow from it
        manifest, changes = opened(payload), len(decode(payload, Signed).chain or ())
        here = round_of(manifest)
        if changes < self._changes.get(device, 0):
            return  # signed with a key that this device knows to be replaced
        if changes > self._changes.get(device, 0):  # what earlier keys have announced counts no more
            self._changes[device] = changes
            self._newest_heard.pop(device, None)
            self._said = {
                key: digest for key, digest in self._said.items() if key < (device, here) or key[0] != device
            }
        base = (manifest.task.digest, manifest.model.digest if manifest.model is not None else None)
        if self._bases.get((device, here), base) != base:  # of another aggregator, which has another history
            self._said = {key: digest for key, digest in self._said.items() if key[:2] != (device, here)}
        self._bases[device, here] = base
        self._newest_heard[device] = max(here, self._newest_heard.get(device, here))
        if self._record.now_s() <= self._over_s(manifest) + LATENESS_S:
            self._heard_in_time.setdefault(device, set()).add(here)

    def work_begins(self, device: str, manifest: Manifest) -> None:
        """A device begins to survey or train: it must have heard of the round before that was over."""
        here = round_of(manifest)
        if here not in self._heard_in_time.get(device, ()):
            raise Violation(
                Invariant.WORK_IN_TIME,
                f"{device} begins to work on round {here}, of which it heard when it was over",
            )

    def _over_s(self, manifest: Manifest) -> float:
        """When a manifest's seconds have run out, in whichever words it was said last."""
        return self._record.lasts_s.get(attempt_name(manifest), 0.0)
