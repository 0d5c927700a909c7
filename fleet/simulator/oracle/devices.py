"""Check that a device publishes only what it has saved, and answers only the newest round, once."""

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
    """Records what devices have saved, received and published, and checks each message against it."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._said: dict[tuple[str, RoundId, bytes], bytes] = {}
        """The update that each device has published for a round and a base model."""
        self._verdicts: dict[tuple[str, bytes], str] = {}
        """The last verdict on each update that its device has saved."""
        self._bases: dict[tuple[str, RoundId], set[tuple[bytes, bytes | None]]] = {}
        """The base model of each round that each device has received a manifest of."""
        self._changes: dict[str, int] = {}
        """The number of key changes that each device knows of."""
        self._outbox: dict[str, set[bytes]] = {}
        self._kept: dict[bytes, tuple[bool, bool]] = {}
        """Whether each saved update has a state that waits for the verdict, and an own model."""
        self._newest_heard: dict[str, RoundId] = {}
        self._heard_in_time: dict[str, set[RoundId]] = {}
        self._saw: dict[Hashable, RoundId] = {}
        """The newest round that each disk has saved as seen by its device."""
        self._started: set[str] = set()
        self._first_disks: set[Hashable] = set()
        """The disks that devices began with. On any other disk the model may be newer than the memory."""

    def saved(self, device: str, digest: bytes, *, pending: bool, own: bool) -> None:
        """Note that the device has saved an update, perhaps with a pending state, or with its own model."""
        self._outbox.setdefault(device, set()).add(digest)
        self._kept[digest] = pending, own

    def learnt(self, device: str, digest: bytes, verdict: str) -> None:
        """Check a verdict that the device has saved."""
        if verdict not in self._record.receipts.get((device, digest), ()):
            raise Violation(
                Invariant.VERDICT_WAS_GIVEN,
                f"{device} believes that its update {short(digest)} is {verdict}, but no aggregator said so",
            )
        self._verdicts[device, digest] = verdict

    def outbox(self, device: str) -> frozenset[bytes]:
        """The updates that the device has saved."""
        return frozenset(self._outbox.get(device, ()))

    def newest_heard(self, device: str) -> RoundId | None:
        """The newest round that a device has received a manifest of and can remember."""
        return self._newest_heard.get(device)

    def replaced(self, device: str, outbox: frozenset[bytes]) -> None:
        """Note that its state is empty or an older copy, which holds only the updates in `outbox`."""
        self._outbox[device] = set(outbox)
        self._said = {key: digest for key, digest in self._said.items() if key[0] != device}
        self._newest_heard.pop(device, None)
        self._changes.pop(device, None)
        self._heard_in_time.pop(device, None)

    def saw(self, disk: Hashable, seen: RoundId | None) -> None:
        """Note the newest round that a disk has saved as seen; None: it must forget all rounds."""
        self._saw[disk] = seen if seen is not None else RoundId(0, 0)

    def starts(self, device: str, disk: Hashable, seen: RoundId) -> None:
        """Check that a starting device remembers the newest round that it saved, and no other."""
        if device not in self._started:
            self._first_disks.add(disk)
        self._started.add(device)
        if seen < (saved := self._saw.setdefault(disk, seen)):
            raise Violation(
                Invariant.SEEN_WHEN_DURABLE,
                f"{device} saved round {saved} as seen, but remembers round {seen}",
            )
        self._newest_heard[device] = min(seen, self._newest_heard.get(device, seen))
        if self._record.composition.newer:
            self._said = {
                key: digest
                for key, digest in self._said.items()
                if key[0] != device or not self._may_repeat(device, digest)
            }

    def _may_repeat(self, device: str, digest: bytes) -> bool:
        """Whether a restarted device may make this update again, as an older program could have made it.

        It must not where it made its own model with the update, or while a state waits for the verdict.
        """
        verdict, (pending, own) = self._verdicts.get((device, digest)), self._kept[digest]
        return not own and (verdict == "refused" or (verdict is None and not pending))

    def says(self, device: str, disk: Hashable, piece: Publication, *, honest: bool = True) -> None:
        """Check a message that a device publishes; two copies of a cloned device may publish differently."""
        address = self._record.address(piece.topic)
        if address is not None and address.kind == "status" and disk in self._first_disks:
            holds = decode(piece.payload, Status).holds
            if holds in self._record.models and self._record.models[holds] > self._saw[disk]:
                raise Violation(
                    Invariant.SEEN_WHEN_DURABLE,
                    f"{device} follows the model of round {self._record.models[holds]}, but has "
                    f"only saved round {self._saw[disk]} as seen",
                )
        if not honest or address is None or address.kind != "update":
            return
        frame = decode(piece.payload, Frame)
        if frame.id not in self._outbox.get(device, ()):
            raise Violation(
                Invariant.UPDATE_WHEN_DURABLE, f"{device} publishes an update that it has not saved"
            )
        made = self._record.made[frame.id]
        answer = (device, made.round, made.message.base)
        if self._said.get(answer) in self._record.void:
            del self._said[answer]
        if self._said.setdefault(answer, frame.id) != frame.id:
            raise Violation(
                Invariant.ONE_ANSWER, f"{device} publishes two different updates for round {made.round}"
            )
        asks = frame.asks is not None and round_of(frame.asks) == made.round
        newest = self._newest_heard.get(device, made.round)
        late = made.round < newest and not self._record.may_count(made.round, newest)
        if frame.i == 0 and not asks and late:
            raise Violation(
                Invariant.ANSWERS_THE_NEWEST_ROUND,
                f"{device} answers round {self._newest_heard[device]} with its update of round {made.round}",
            )

    def hears(self, device: str, payload: bytes) -> None:
        """Note a manifest that reaches a device, which may begin to work only while the round is open."""
        if payload not in self._record.genuine:
            return  # forged: the device must ignore it
        manifest, changes = opened(payload), len(decode(payload, Signed).chain or ())
        here = round_of(manifest)
        if changes < self._changes.get(device, 0):
            return  # signed with a key that this device knows to be replaced
        if changes > self._changes.get(device, 0):  # rounds announced with earlier keys no longer count
            self._changes[device] = changes
            self._newest_heard.pop(device, None)
            self._said = {
                key: digest for key, digest in self._said.items() if key < (device, here) or key[0] != device
            }
        base = (manifest.task.digest, manifest.model.digest if manifest.model is not None else None)
        bases = self._bases.setdefault((device, here), set())
        bases.add(base)
        if len(bases) > 1:  # of aggregators with different histories; the device may pass over one of them
            self._said = {key: digest for key, digest in self._said.items() if key[:2] != (device, here)}
        self._newest_heard[device] = max(here, self._newest_heard.get(device, here))
        if self._record.now_s() <= self._over_s(manifest) + LATENESS_S:
            self._heard_in_time.setdefault(device, set()).add(here)

    def work_begins(self, device: str, manifest: Manifest) -> None:
        """Check that a device which begins to work received the manifest before the round ended."""
        here = round_of(manifest)
        if here not in self._heard_in_time.get(device, ()):
            raise Violation(
                Invariant.WORK_IN_TIME,
                f"{device} begins to work on round {here}, but received its manifest after the end",
            )

    def _over_s(self, manifest: Manifest) -> float:
        """When a manifest's deadline passes, by the newest copy of the manifest."""
        return self._record.lasts_s.get(attempt_name(manifest), 0.0)
