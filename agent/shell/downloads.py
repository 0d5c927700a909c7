"""Downloads the task and the model of the round: assembles frames, decodes once, and keeps both in memory."""

import logging

import numpy as np
from numpy.typing import NDArray

from agent.core.events import Fetched, FrameArrived
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
from fedge.wire.reasons import Rejection

log = logging.getLogger("fedge.agent")

LARGEST_DOWNLOAD = 512 * 2**20


class Downloads:
    """The task and the model that were downloaded last.

    Args:
        stored: the content of the model file, which is used after a restart; None: there is none.
    """

    def __init__(self, stored: StoredModel | None) -> None:
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
        """Take a frame of the announced task or model.

        Returns:
            `Fetched` if it completes its message, `FrameArrived` if it is new, None if it was there already
            or belongs to something that is not announced (any more).

        Raises:
            ProtocolError: the frame contradicts the others; all frames of that message are dropped.
        """
        wanted = manifest and (manifest.task if kind == "task" else manifest.model)
        # In how many frames does not matter: they may come before the announcement that says so.
        if not wanted or (frame.id, frame.size) != (wanted.digest, wanted.size):
            return None
        missing = self._assembler.missing(kind, frame.id)
        whole = self._assembler.offer(kind, frame)
        if isinstance(whole, Rejection):
            # One forged frame must not block the genuine ones, which are requested again.
            self._assembler.drop(kind)
            raise ProtocolError(whole.detail, whole.reason)
        if whole is not None:
            return self._decoded(now_s, kind, frame.id, whole)
        return FrameArrived(now_s) if self._assembler.missing(kind, frame.id) != missing else None

    def missing(self, kind: str, wanted: Blob) -> tuple[int, ...]:
        """The frames of the announced task or model that have not arrived, as far as their cut is known."""
        missing = self._assembler.missing(kind, wanted.digest)
        return tuple(range(wanted.frames)) if missing is None else missing

    def drop(self) -> None:
        """Drop all frames whose message is not complete."""
        self._assembler.drop("task")
        self._assembler.drop("model")

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
        unknown = unknown_in_model(model)
        if not unknown:
            self._model = (whole, _vectors(model))
        return unknown


def _vectors(model: Model) -> dict[str, NDArray[np.float32]]:
    """Decode the weights and the model's other vectors for the local algorithm, each of shape (p,)."""
    codec = CODECS.make(model.codec)
    weights = codec.decode(model.body, len(model.body) // 4, ANNOUNCED)
    more = {name: codec.decode(body, len(weights), ANNOUNCED) for name, body in (model.vectors or {}).items()}
    return {**more, WEIGHTS: weights}
