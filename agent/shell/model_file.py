"""The file with a model and its task, replaced as a whole: the newest model, or the one in use."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from fedge import __version__
from fedge.errors import ConfigError, DamagedState, ProtocolError, StateError
from fedge.storage.atomic_files import atomic_write, remove
from fedge.storage.files import read_file
from fedge.wire import encoding
from fedge.wire.capabilities import unknown_in_model, unknown_in_task
from fedge.wire.messages.message import unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task

FILE = "model.held"
"""The name, in the state folder, of the file with the newest model that the device has followed."""
USED = "model.used"
"""The name of the file with the model that `predict` uses, if that is not the newest one."""

PERSONAL = "model.personal"
"""The name of the file with the device's own model, where it uses that instead of the shared one."""

_VERSION = 1


@dataclass(frozen=True)
class Own:
    """What a file says of a model of the device's own."""

    chosen: str
    """`personal`. A file that says something else is not used."""
    name: str
    """The part that made the personal model, such as `ditto`."""
    round: str
    """The round in which it was made, as in `1.7`."""
    base: bytes
    """The digest of the shared model that it was made from."""


@dataclass(frozen=True)
class StoredModel:
    """The content of the file: the messages as they arrived, and decoded."""

    task: bytes
    task_digest: bytes
    decoded_task: Task
    model: bytes
    model_digest: bytes
    decoded_model: Model
    max_samples: int | None = None
    """The federation's cap on a device's training rows at that time; None: it announced none."""
    untrained: bool = False
    """Whether the model holds the first weights of a generation, which no device has trained yet."""
    own: Own | None = None
    """What the file says of a model of the device's own; None: it is a shared one."""
    local: tuple[str, ...] = ()
    """Of a shared model: its parameters that nobody trains, because each device keeps its own of them."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """The names in the file that this program does not know, because a newer program wrote it."""
        return unknown_in_task(self.decoded_task) + unknown_in_model(self.decoded_model)


def save(
    path: Path,
    task: bytes,
    model: bytes,
    max_samples: int | None = None,
    *,
    untrained: bool = False,
    own: Own | None = None,
    local: tuple[str, ...] = (),
) -> None:
    """Replace the file by a task, its model, and what was announced with them.

    Args:
        path: the file.
        task: the packed task.
        model: the packed model.
        max_samples: the federation's cap on a device's training rows; None: it announced none.
        untrained: whether no device has trained the model yet.
        own: of a model of the device's own: how it was made.
        local: of a shared model: its parameters that nobody trains.

    Raises:
        StateError: the file cannot be written. The former one is unchanged.
    """
    told = {
        **({} if max_samples is None else {"max_samples": max_samples}),
        **({"untrained": True} if untrained else {}),
        **(asdict(own) if own is not None else {}),
        **({"local": list(local)} if local else {}),
    }
    beside = encoding.encode(told)
    fields = {
        "v": _VERSION,
        "task": task,
        "task_digest": hashlib.sha256(task).digest(),
        "model": model,
        "model_digest": hashlib.sha256(model).digest(),
        **({"told": beside, "told_digest": hashlib.sha256(beside).digest()} if told else {}),
    }
    atomic_write(path, encoding.encode(fields))


def set_apart(path: Path) -> None:
    """Copy the model that `predict` reads to a file of its own, before the newest one replaces its file.

    This does nothing if there is no model, or if that file exists already.

    Raises:
        StateError: a file cannot be read or written.
    """
    used = path.with_name(USED)
    try:
        if not used.exists() and path.exists():
            atomic_write(used, read_file(path))
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}") from error


def release(path: Path) -> None:
    """Let `predict` use the newest model, by removing the file of the former one.

    Raises:
        StateError: the file of the former model cannot be removed.
    """
    used = path.with_name(USED)
    if used.exists():
        remove(used)


def waits(folder: Path) -> bool:
    """Whether the former model stays in use because no device has trained the newest one yet.

    The file of the newest model says this. Its round number cannot: a generation may also begin with a kept
    model, which has the same number as first weights.
    """
    try:
        used, newest = read(folder / USED), read(folder / FILE)
    except StateError:
        return False
    return (
        used is not None
        and newest is not None
        and newest.untrained
        and used.decoded_model.generation < newest.decoded_model.generation
    )


def read(path: Path) -> StoredModel | None:
    """Read the file and check its digests; None: there is no file, so no model has been fetched yet.

    Raises:
        DamagedState: the content is not what was written.
        StateError: the file cannot be read.
    """
    try:
        data = read_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        fields = encoding.decode(data, max_bytes=len(data))
        if fields.get("v") != _VERSION:
            raise ProtocolError(f"layout {fields.get('v')!r}, this program knows {_VERSION}")
        task, model = (_checked(fields, name) for name in ("task", "model"))
        told = _told(fields)
        return StoredModel(
            task=task,
            task_digest=fields["task_digest"],
            decoded_task=unpack(task, Task, max_bytes=len(task)),
            model=model,
            model_digest=fields["model_digest"],
            decoded_model=unpack(model, Model, max_bytes=len(model)),
            max_samples=cap if isinstance(cap := told.get("max_samples"), int) else None,
            untrained=told.get("untrained") is True,
            own=_own(told),
            local=_local(told),
        )
    except ProtocolError as error:
        raise DamagedState(
            f"{path}: is damaged ({error}); the agent fetches the model again when it starts"
        ) from error


def shared_in_use(folder: Path, *, gated: bool) -> Path:
    """Return the file of the shared model in use: the newest, unless it `waits` or a gate rejected it.

    Args:
        folder: the state folder.
        gated: whether the owner has set `[predict] tolerance`.
    """
    used = folder / USED
    return used if used.exists() and (gated or waits(folder)) else folder / FILE


def in_use(folder: Path, *, gated: bool) -> Path:
    """Return the file that `predict` reads: the device's own model if it fits, else the shared one in use.

    It fits if it is a personal model of the newest task. With a gate, the shared model in use must also be
    one that is not older than the model that it was made from: otherwise the gate would be passed by.

    Args:
        folder: the state folder.
        gated: whether the owner has set `[predict] tolerance`.
    """
    shared = shared_in_use(folder, gated=gated)
    try:
        own, newest = read(folder / PERSONAL), read(folder / FILE)
        used = read(shared) if gated else newest
    except StateError:
        return shared
    if own is None or own.own is None or own.own.chosen != "personal":
        return shared
    if newest is None or own.task_digest != newest.task_digest:
        return shared
    if gated and (used is None or not _as_new(used, own)):
        return shared
    return folder / PERSONAL


def _as_new(used: StoredModel, own: StoredModel) -> bool:
    """Whether the shared model in use is at least as new as the one that an own model was made from."""
    newest, made = used.decoded_model, own.decoded_model
    return (newest.generation, newest.round) >= (made.generation, made.round)


def load(path: Path) -> tuple[Task, Model]:
    """Read the task and the model of the file.

    Raises:
        StateError, ConfigError: see `require`.
    """
    held = require(path)
    return held.decoded_task, held.decoded_model


def require(path: Path) -> StoredModel:
    """Read a file whose model this program can compute.

    Raises:
        StateError: there is no file yet, or it cannot be read or is damaged.
        ConfigError: a newer program wrote it, and this program cannot compute its model.
    """
    held = read(path)
    if held is None:
        raise StateError(f"{path}: this device holds no model yet; run the agent until it has fetched one")
    if held.unknown:
        names = ", ".join(held.unknown)
        raise ConfigError(
            f"{path}: the model needs {names}, which this program (Fedge {__version__}) does not have; "
            "upgrade it, or list the code that has them in `extensions`"
        )
    return held


def _told(fields: dict[str, object]) -> dict[str, object]:
    """Return what was announced with task and model. Files of 0.2.0 do not hold it."""
    if not {"told", "told_digest"} & fields.keys():
        return {}
    beside = _checked(fields, "told")
    return encoding.decode(beside, max_bytes=len(beside))


def _local(told: dict[str, object]) -> tuple[str, ...]:
    names = told.get("local")
    return tuple(str(name) for name in names) if isinstance(names, list | tuple) else ()


def _own(told: dict[str, object]) -> Own | None:
    found = [told.get(field) for field in ("chosen", "name", "round", "base")]
    chosen, name, made_in, base = found
    if (
        isinstance(chosen, str)
        and isinstance(name, str)
        and isinstance(made_in, str)
        and isinstance(base, bytes)
    ):
        return Own(chosen, name, made_in, base)
    return None


def _checked(fields: dict[str, object], name: str) -> bytes:
    data = fields.get(name)
    if not isinstance(data, bytes) or hashlib.sha256(data).digest() != fields.get(f"{name}_digest"):
        raise ProtocolError(f"the {name} does not match its digest")
    return data
