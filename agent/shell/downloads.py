"""Downloads the task and the model of the round: assembles frames, decodes once, and keeps both in memory.

A model may come in a coded form (`fedge.wire.models`). From that form and its key frame this makes the
model's message in float32. Only if that has the announced digest, it is the model; all else on the device
knows this message alone.
"""

import logging
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from agent.core.events import Fetched, FrameArrived
from agent.shell.key_frames import KeyFrames
from agent.shell.model_file import StoredModel
from fedge.algorithms.codecs.seeds import ANNOUNCED
from fedge.algorithms.protocols import WEIGHTS
from fedge.algorithms.registry import CODECS
from fedge.errors import ProtocolError
from fedge.wire.assembly import Assembler, Limits
from fedge.wire.capabilities import unknown_in_model, unknown_in_task
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task
from fedge.wire.models import FLOAT32, decoded_message
from fedge.wire.reasons import Rejection

log = logging.getLogger("fedge.agent")

LARGEST_DOWNLOAD = 512 * 2**20


class Downloads:
    """The task and the model that were downloaded last.

    Args:
        stored: the content of the model file, which is used after a restart; None: there is none.
        keys: the key frame that the device has.
    """

    def __init__(self, stored: StoredModel | None, keys: KeyFrames) -> None:
        self._keys = keys
        self._coded: tuple[bytes, bytes] | None = None
        """Digest and message of a coded form whose key frame is not here yet."""
        self._model_digest = stored.model_digest if stored else b""
        self._assembler = Assembler(Limits(LARGEST_DOWNLOAD, LARGEST_DOWNLOAD))
        self._task = (stored.task, stored.decoded_task) if stored else None
        self._model = (stored.model, _vectors(stored.decoded_model)) if stored else None

    @property
    def incomplete_bytes(self) -> int:
        """The size of the frames that wait for others of their message, in bytes."""
        return self._assembler.held

    @property
    def has_task(self) -> bool:
        """Whether there is a task."""
        return self._task is not None

    @property
    def task_bytes(self) -> bytes:
        """The newest task as it arrived; there must be one."""
        assert self._task is not None
        return self._task[0]

    @property
    def task(self) -> Task:
        """The newest task; there must be one."""
        assert self._task is not None
        return self._task[1]

    @property
    def model_bytes(self) -> bytes:
        """The newest model as it arrived; there must be one."""
        assert self._model is not None
        return self._model[0]

    @property
    def vectors(self) -> dict[str, NDArray[np.float32]]:
        """The vectors of the newest model by name, each of shape (p,); empty if there is no model."""
        return self._model[1] if self._model is not None else {}

    def offer(
        self, kind: str, frame: Frame, manifest: Manifest | None, now_s: float
    ) -> Fetched | FrameArrived | None:
        """Take a frame of the announced task, model, coded form or key frame.

        Returns:
            `Fetched` if it completes its message, `FrameArrived` if it is new, None if it was there already
            or belongs to something that is not announced (any more). A coded form is not complete without
            its key frame.

        Raises:
            ProtocolError: the frame contradicts the others; all frames of that message are dropped.
        """
        wanted = _wanted(kind, manifest)
        # In how many frames does not matter: they may come before the announcement that says so.
        if not wanted or (frame.id, frame.size) != (wanted.digest, wanted.size):
            return None
        if manifest is None or self._is_here(kind, wanted.digest):
            return None
        missing = self._assembler.missing(kind, frame.id)
        whole = self._assembler.offer(kind, frame)
        if isinstance(whole, Rejection):
            # One forged frame must not block the genuine ones, which are requested again.
            self._assembler.drop(kind)
            raise ProtocolError(whole.detail, whole.reason)
        if whole is not None:
            if kind != "task" and manifest.coded is not None and manifest.model is not None:
                return self._take_coded(now_s, kind, whole, manifest, manifest.model)
            return self._decoded(now_s, kind, frame.id, whole)
        return FrameArrived(now_s) if self._assembler.missing(kind, frame.id) != missing else None

    def missing(self, kind: str, wanted: Blob) -> tuple[int, ...]:
        """The frames of what is announced that have not arrived, as far as their cut is known."""
        if self._is_here(kind, wanted.digest):
            return ()
        missing = self._assembler.missing(kind, wanted.digest)
        return tuple(range(wanted.frames)) if missing is None else missing

    def expect(self, kind: str, wanted: Blob) -> None:
        """Drop the frames of another cut than the announced one. The broker may lack the others of that cut:
        its sender may have ended before it published them, and then have published the announced cut."""
        if self._assembler.frames(kind, wanted.digest) != wanted.frames:
            self._assembler.drop(kind)

    def lacks_coded(self, manifest: Manifest) -> bool:
        """Whether the coded form that is announced, or the model without one, has to be fetched."""
        return manifest.coded is None or not self._is_here("model", manifest.coded.digest)

    def lacks_key(self, manifest: Manifest) -> bool:
        """Whether the announced key frame has to be fetched. If it is the model in memory, it becomes the key
        frame here: a device that follows each model need not fetch any."""
        key = manifest.key
        if key is None or self._keys.held(key.digest) is not None:
            return False
        if self._model is None or self._model_digest != key.digest:
            return True
        self._keys.take(self._model[0])
        return False

    def drop(self) -> None:
        """Drop all frames whose message is not complete."""
        for kind in ("task", "model", "key"):
            self._assembler.drop(kind)
        self._coded = None

    def _is_here(self, kind: str, digest: bytes) -> bool:
        """Whether a coded form waits for its key frame, or a key frame is the one in memory."""
        if kind == "key":
            return self._keys.held(digest) is not None
        return self._coded is not None and self._coded[0] == digest

    def _take_coded(
        self, now_s: float, kind: str, whole: bytes, manifest: Manifest, model: Blob
    ) -> Fetched | FrameArrived:
        """Take a coded form or a key frame; with both, make the model."""
        try:
            if kind == "key":
                self._keys.take(whole)
            else:
                self._coded = (sha256(whole).digest(), whole)
            if self.lacks_coded(manifest) or self.lacks_key(manifest):
                return FrameArrived(now_s)
            return Fetched(now_s, "model", model.digest, unknown=self._make_model(manifest, model))
        except ProtocolError as error:
            log.warning("the model that was announced cannot be made: %s", error)
            return Fetched(now_s, "model", model.digest, unknown=("model:unreadable",))

    def _make_model(self, manifest: Manifest, announced: Blob) -> tuple[str, ...]:
        """Make the model of its coded form; return the names in it that this program does not know.

        Raises:
            ProtocolError: the form does not give the model that is announced.
        """
        assert self._coded is not None
        (_, data), self._coded = self._coded, None
        form = unpack(data, Model, max_bytes=MAX_SIZE)
        if unknown := unknown_in_model(form):
            return unknown
        if form.size is not None and 4 * form.size * (1 + len(form.vectors or {})) > announced.size:
            raise ProtocolError("model: a coded form of more weights than the announced model has")
        key = self._keys.held(manifest.key.digest) if manifest.key is not None else None
        whole = decoded_message(form, manifest.seed, key)
        if sha256(whole).digest() != announced.digest:
            raise ProtocolError("model: its coded form gives another model than the announced one")
        return self._take_model(whole)

    def _decoded(self, now_s: float, kind: str, digest: bytes, whole: bytes) -> Fetched:
        """Decode a task or a model; if this program does not know something in it, return only its name."""
        try:
            if kind == "model":
                return Fetched(now_s, kind, digest, unknown=self._take_model(whole))
            task = unpack(whole, Task, max_bytes=MAX_SIZE)
        except ProtocolError as error:
            # Its digest is the announced one, so to fetch it again would give the same.
            log.warning("the %s that was announced cannot be read: %s", kind, error)
            return Fetched(now_s, kind, digest, unknown=(f"{kind}:unreadable",))
        self._task = (whole, task)
        return Fetched(now_s, kind, digest, task.source, unknown_in_task(task))

    def _take_model(self, whole: bytes) -> tuple[str, ...]:
        """Keep a model if this program knows all of it; return the names that it does not know."""
        model = unpack(whole, Model, max_bytes=MAX_SIZE)
        if model.size is not None or model.key is not None:
            raise ProtocolError("model: a coded form, where the model itself was announced")
        unknown = unknown_in_model(model)
        if not unknown and model.codec != FLOAT32:
            raise ProtocolError(f"model: in {model.codec}, and neither in float32 nor a coded form")
        if not unknown:
            self._model, self._model_digest = (whole, _vectors(model)), sha256(whole).digest()
        return unknown


def _wanted(kind: str, manifest: Manifest | None) -> Blob | None:
    """What is announced of this kind, in the form in which it is sent."""
    if manifest is None:
        return None
    if kind == "task":
        return manifest.task
    return manifest.key if kind == "key" else manifest.coded or manifest.model


def _vectors(model: Model) -> dict[str, NDArray[np.float32]]:
    """Decode the weights and the model's other vectors for the local algorithm, each of shape (p,)."""
    codec = CODECS.make(model.codec)
    weights = codec.decode(model.body, len(model.body) // 4, ANNOUNCED)
    more = {name: codec.decode(body, len(weights), ANNOUNCED) for name, body in (model.vectors or {}).items()}
    return {**more, WEIGHTS: weights}
