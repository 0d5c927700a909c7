"""The model files: the newest model that was followed, and the one that `predict` uses."""

import logging
from hashlib import sha256
from pathlib import Path

import numpy as np

from agent.core.state import SHARED, USES, PersonalState
from agent.shell import model_file
from agent.shell.downloads import Downloads
from agent.trainers.comparison import Judgement
from agent.trainers.personal_states import weights_in_use
from fedge.algorithms.codecs import float32
from fedge.algorithms.kept_parameters import kept_parameters
from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import WEIGHTS
from fedge.algorithms.registry import PERSONAL
from fedge.errors import StateError
from fedge.nn import first_weights
from fedge.storage.atomic_files import remove
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack
from fedge.wire.messages.model import Model

log = logging.getLogger("fedge.agent")


def keep_own(file: Path, state: PersonalState, task: bytes) -> None:
    """Bring the file of the device's own model up to date; what fails is logged.

    Args:
        file: the file of the newest model. The device's own is beside it.
        state: what the device keeps of its own models.
        task: the packed task that the newest model is of. A model of another one is not written; a file that
            is there is left as it is, because `model_file.in_use` does not use it.
    """
    path = file.with_name(model_file.PERSONAL)
    try:
        weights = weights_in_use(state)
        if weights is None:  # whatever the task: a file that stayed would be used when its task returns
            if path.exists():
                remove(path)
            return
        if sha256(task).digest() != state.task:
            return
        body = float32.encode(np.asarray(weights, np.float32))
        # A round begins from the model of the round before.
        model = Model(generation=state.round.generation, round=max(0, state.round.round - 1), body=body)
        model_file.save(path, task, pack(model), own=_own_of(state))
    except (StateError, ValueError) as error:
        log.error("%s: the device's own model is not written: %s", path, error)


def restore_own(file: Path, state: PersonalState | None, task: bytes) -> None:
    """Write the file of the device's own model again if it is not what the memory says, as after a power cut.

    Args:
        file: as for `keep_own`.
        state: what the memory holds; None: nothing, and the file is left as it is.
        task: as for `keep_own`.
    """
    if state is None:
        return
    path = file.with_name(model_file.PERSONAL)
    try:
        found = model_file.read(path)
    except StateError as error:
        log.warning("%s; it is written again", error)
        found = None
    wanted = None if state.chose == SHARED else _own_of(state)
    if (found.own if found is not None else None) != wanted or (found is None and path.exists()):
        keep_own(file, state, task)


def _own_of(state: PersonalState) -> model_file.Own:
    return model_file.Own(USES[state.chose], state.name, str(state.round), state.base)


class ServedModels:
    """Writes the downloaded model to the files that `predict` reads.

    Args:
        file: the file of the newest model. The file of the model in use is beside it.
        downloads: the task and the model in memory.
    """

    def __init__(self, file: Path, downloads: Downloads) -> None:
        self._file = file
        self._downloads = downloads
        self._candidate: tuple[bytes, bytes, bytes] | None = None
        """Digest, task and model that are being judged. They stay in memory during later downloads."""
        self._local: tuple[str, ...] = ()
        """The newest model's parameters that nobody trains, as far as its announcement says."""

    def keep(self, manifest: Manifest | None, *, gated: bool) -> None:
        """Write the model in memory to the file of the newest one.

        Args:
            manifest: the newest announcement.
            gated: whether only `use` replaces the model in use.

        Raises:
            StateError: a file cannot be written.
        """
        untrained = self._is_untrained(manifest)
        plan = manifest.plan if manifest is not None else None
        if plan is not None:
            self._local = self._kept_parameters(plan)
            if plan.personal is None:
                self._drop_own()
        if gated or untrained:
            model_file.set_apart(self._file)
        cap = manifest.max_samples if manifest is not None else None
        task, model = self._downloads.task_bytes, self._downloads.model_bytes
        model_file.save(self._file, task, model, cap, untrained=untrained, local=self._local)
        if untrained and model_file.waits(self._file.parent):
            log.info("no device has trained the new model yet: `predict` keeps using the former one")
        elif not gated:
            model_file.release(self._file)

    def keep_personal(self, state: PersonalState) -> None:
        """Write the device's own model to the file that `predict` reads, or remove that file.

        If this fails, it is logged, and the next start does it: the memory has it all.
        """
        keep_own(self._file, state, self._downloads.task_bytes)

    def judgement(self, digest: bytes, tolerance: float) -> Judgement:
        """Return the comparison of the model in memory with the one in use, for the worker."""
        task, weights = self._downloads.task, self._downloads.vectors[WEIGHTS]
        task_bytes = self._downloads.task_bytes
        self._candidate = (digest, task_bytes, self._downloads.model_bytes)
        used = model_file.shared_in_use(self._file.parent, gated=True)
        return Judgement(digest, task, sha256(task_bytes).digest(), weights, used, tolerance)

    def use(self, digest: bytes) -> None:
        """Write the model that was judged, or else the one in memory, to the file that `predict` reads.

        Raises:
            StateError: the file cannot be written.
        """
        candidate, self._candidate = self._candidate, None
        if candidate is not None and candidate[0] == digest:
            _, task, model = candidate
        else:  # the first model is not judged
            task, model = self._downloads.task_bytes, self._downloads.model_bytes
        model_file.save(self._file.with_name(model_file.USED), task, model, local=self._local)

    def _drop_own(self) -> None:
        """Remove the file of the device's own model, because the plan has none.

        The memory says the same after the round's work, if it still knows of such a model.
        """
        path = self._file.with_name(model_file.PERSONAL)
        try:
            if path.exists():
                remove(path)
                log.info("%s is removed: the federation has no personal models", path)
        except StateError as error:
            log.error("%s: the device's own model stays in use: %s", path, error)

    def _kept_parameters(self, plan: Plan) -> tuple[str, ...]:
        if plan.personal is None or not self._downloads.has_task:
            return ()
        network = self._downloads.task.network
        try:
            return kept_parameters(
                PERSONAL.make(plan.personal, plan.personal_options).shared(network), network
            )
        except ValueError:  # this program does not have it; the device does not take part
            return ()

    def _is_untrained(self, manifest: Manifest | None) -> bool:
        """Whether the model in memory holds the first weights of a generation, which are not trained."""
        vectors = self._downloads.vectors
        if manifest is None or manifest.round > 1 or not self._downloads.has_task or not vectors:
            return False
        first = first_weights(self._downloads.task.network, manifest.seed, manifest.generation)
        return np.array_equal(first, vectors[WEIGHTS])
