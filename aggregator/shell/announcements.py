"""What the aggregator publishes and keeps at the broker: presence, task, model, manifest, exported file.

A task, model or key frame lies in one of two slots, and a new one never overwrites the one that is announced.
A model's slot holds its coded form, if it has one.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from aggregator.aggregation.models import blob_of
from aggregator.core import effects as do
from aggregator.core.slots import Slots
from aggregator.export.job import Exported
from aggregator.ledger.changes.contents import MOVED
from aggregator.ledger.writing import Ledger
from fedge.algorithms.kept_parameters import UNTRAINED
from fedge.identity.trust import SignedKind, Signer
from fedge.transport import Publication, Transport
from fedge.transport.packets import EXPIRY_BYTES
from fedge.wire.frames import count, cut, frame_bytes, split
from fedge.wire.freshness import MANIFEST_EXPIRY_S, SERVICE_EXPIRY_S, RoundId
from fedge.wire.messages.envelope import seal
from fedge.wire.messages.export import Export
from fedge.wire.messages.fields import MAX_FRAMES, detail_of
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import Message, pack
from fedge.wire.messages.service import Service
from fedge.wire.topics import Topics

log = logging.getLogger("fedge.aggregator")


@dataclass(frozen=True)
class BlobsSent:
    """The token of a model on its way to the broker."""

    round: RoundId
    contents: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class ManifestSent:
    """The token of a manifest on its way to the broker."""

    slots: Slots


@dataclass(frozen=True)
class ExportSent:
    """The token of an exported model on its way to the broker."""

    round: RoundId
    last: bool
    file: Blob | None


class Announcements:
    """Publishes messages, and tracks what the broker holds.

    Args:
        topics: of the federation.
        link: to the broker.
        ledger: holds what is published, and in which slot.
        signer: signs what is announced; without one it goes out unsigned.
    """

    def __init__(self, topics: Topics, link: Transport, ledger: Ledger, signer: Signer | None) -> None:
        self._topics, self._link, self._ledger, self._signer = topics, link, ledger, signer
        self._published: set[tuple[str, bytes]] = set()
        self._slots = ledger.slots()
        self._export_slot = ledger.export_slot()
        self._told_untrained = False
        self._clears = True
        """Whether the newest manifest could be sent."""

    def begin_anew(self) -> None:
        """Count nothing as published after a new connection: messages in flight may have been lost."""
        self._published.clear()
        self._export_slot = self._ledger.export_slot()

    def hold(self, blobs: BlobsSent) -> None:
        """Note that the broker has acknowledged a task and a model; inside the turn's transaction."""
        self._published.update(blobs.contents)
        saved = self._ledger.slots()
        for (kind, slot), blob in self._slots.items():
            if (kind, blob.digest) in blobs.contents and saved.get((kind, slot)) != blob:
                self._ledger.save_slot(kind, blob)  # `clear` needs the number of its frames

    def end_export(self, export: ExportSent, refusal: str | None) -> None:
        """Note that the broker acknowledged or refused an exported file; inside the turn's transaction."""
        if refusal is not None:
            self._export_slot = self._ledger.export_slot()  # it was not announced
            log.error("the broker refuses the exported model: %s", refusal)
        elif export.file is not None:
            self._ledger.save_export(export.file)

    def manifest(self, manifest: Manifest) -> None:
        """Publish which round is open, or that learning is done."""
        log.debug("round %d.%d is announced", manifest.generation, manifest.round)
        places = {
            "task": self._there("task", manifest.task),
            "model": manifest.model and self._there("model", manifest.model),
            "coded": manifest.coded and self._there("coded", manifest.coded),
            "key": manifest.key and self._there("key", manifest.key),
        }
        manifest = manifest.model_copy(update=places)
        sealed = self._seal(manifest, "round")
        piece = Publication(self._topics.round, sealed, retain=True, expiry_s=MANIFEST_EXPIRY_S)
        # One that is too large is not sent: then devices still read what the one before names.
        self._clears = len(sealed) <= self._link.room(self._topics.round) - EXPIRY_BYTES
        self._link.send([piece], ManifestSent(Slots.of(manifest.task, manifest.model, manifest.key)))

    def blobs(self, effect: do.PublishBlobs) -> None:
        """Publish task, model and key frame, unless the broker holds them."""
        new = [(kind, blob) for kind, blob in _blobs(effect) if (kind, blob.digest) not in self._published]

        before = dict(self._slots)

        def frames() -> Iterator[Publication]:
            for kind, blob in new:
                pieces = split(self._ledger.content(blob.digest), self._frame_bytes(kind, blob))
                for i in range(len(pieces)):
                    yield Publication(self._topic(kind, blob.slot, i), pieces[i], retain=True)
                there = before.get((kind, blob.slot))  # one that was moving there and is not needed any more
                for i in range(len(pieces), there.frames if there is not None else 0):
                    yield Publication(self._topic(kind, blob.slot, i), b"", retain=True)

        new = [(kind, self._cut(kind, blob)) for kind, blob in new]
        sent = BlobsSent(effect.round, tuple((kind, blob.digest) for kind, blob in new))
        self._link.send(frames(), sent, bulk=True)
        for kind, blob in new:
            other = self._slots.get((kind, 1 - blob.slot))
            if other is not None and other.digest == blob.digest:  # it has moved: as the ledger stores it
                self._slots[kind, other.slot] = other.model_copy(update={"digest": MOVED})
            self._slots[kind, blob.slot] = blob

    def finer(self, effect: do.PublishBlobs) -> frozenset[str]:
        """Those of `task`, `model` and `key` that this connection takes in more frames than are there."""
        return frozenset(
            "model" if kind == "coded" else kind
            for kind, blob in _blobs(effect)
            if (there := self._slots.get((kind, blob.slot))) is not None
            and there.digest == blob.digest
            and there.frames < self._cut(kind, blob).frames
        )

    def clear(self, kind: str, slot: int) -> None:
        """Clear a slot at the broker; the ledger tells what is in it, also after a restart."""
        if not self._clears:
            return
        kinds = ("model", "coded") if kind == "model" else (kind,)  # either form may be there
        old = {of: blob for of in kinds if (blob := self._slots.pop((of, slot), None)) is not None}
        self._published.difference_update((of, blob.digest) for of, blob in old.items())
        frames = max((blob.frames for blob in old.values()), default=0)
        if not frames:
            return
        topics = (self._topic(kind, slot, i) for i in range(frames))
        # In the order of the frames: later ones may come into this slot.
        self._link.send((Publication(topic, b"", retain=True) for topic in topics), bulk=True)

    def _topic(self, kind: str, slot: int, i: int) -> str:
        topics = {"task": self._topics.task, "model": self._topics.model, "coded": self._topics.model}
        topics |= {"key": self._topics.key, "export": self._topics.export_frame}
        return topics[kind](slot, i)

    def _there(self, kind: str, blob: Blob) -> Blob:
        """Describe a content as it is cut in its slot, also if this connection takes it only cut finer."""
        there = self._slots.get((kind, blob.slot))
        return there if there is not None and there.digest == blob.digest else self._cut(kind, blob)

    def _cut(self, kind: str, blob: Blob) -> Blob:
        """Describe a content as it is cut for the present connection."""
        return blob.model_copy(update={"frames": count(blob.size, self._frame_bytes(kind, blob))})

    def _frame_bytes(self, kind: str, blob: Blob) -> int:
        """The data bytes in each frame of a content: as the broker and our settings allow.

        If its slot has it in more frames, these stay: devices may be reading them.
        """
        there = self._slots.get((kind, blob.slot))
        frames = there.frames if there is not None and there.digest == blob.digest else 1
        return cut(blob.size, self._most(kind, blob.size), frames)

    def _most(self, kind: str, size: int) -> int:
        """The most data bytes in a frame that the broker and our settings allow."""
        return frame_bytes(size, self._link.room(self._topic(kind, 0, MAX_FRAMES - 1)))

    def _seal(self, message: Message, kind: SignedKind) -> bytes:
        return self._signer.seal(message, kind) if self._signer is not None else seal(message)

    def publication_of(self, message: Service) -> Publication:
        """The message that says whether this aggregator is online."""
        expiry_s = SERVICE_EXPIRY_S if message.online else None  # the offline status stays
        return Publication(self._topics.service, pack(message), retain=True, expiry_s=expiry_s)

    def export(self, exported: Exported) -> None:
        """Publish and announce the ONNX file, or announce why there is none."""
        job, content = exported.job, exported.onnx
        if (said := job.choice.get(UNTRAINED)) is not None and not self._told_untrained:
            self._told_untrained = True
            log.warning("the exported model: %s", said)
        if exported.withheld:
            log.error("round %s: the ONNX file is withheld: %s", job.round, exported.withheld)
        # Never overwrite the announced file. An older ledger does not have its slot: then the number decides.
        slot = job.round.round % 2 if self._export_slot is None else 1 - self._export_slot
        pieces = split(content, self._most("export", len(content))) if content is not None else ()
        file = blob_of(content, slot, len(pieces)) if content is not None else None
        message = Export(
            generation=job.round.generation,
            round=job.round.round,
            model=job.digest,
            file=file,
            withheld=detail_of(exported.withheld),
        )

        def publications() -> Iterator[Publication]:
            for i in range(len(pieces)):
                yield Publication(self._topic("export", slot, i), pieces[i], retain=True)
            yield Publication(self._topics.export, self._seal(message, "export"), retain=True)

        self._link.send(publications(), ExportSent(job.until or job.round, job.last, file), bulk=True)
        if file is not None:
            self._export_slot = slot


def _blobs(effect: do.PublishBlobs) -> list[tuple[str, Blob]]:
    """What is published, each with its kind: a coded form in place of its model, with its key frame."""
    blobs = [("task", effect.task)]
    if effect.form is not None:
        blobs.append(("coded", effect.form.coded))
        blobs += [("key", effect.form.key)] if effect.form.key is not None else []
    elif effect.model is not None:
        blobs.append(("model", effect.model))
    return blobs
