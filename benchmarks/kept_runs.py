"""The finished runs of a long benchmark in a file, so that it goes on where it was interrupted."""

import json
import os
from collections.abc import Hashable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar


class Finished(Protocol):
    """A finished run: a frozen dataclass of numbers, texts and tuples."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def settings(self) -> str:
        """A digest of all settings but those in the key."""

    @property
    def key(self) -> Hashable:
        """What distinguishes it from the other runs of the benchmark."""


class Wanted(Protocol):
    """A run that is wanted; as `Finished`."""

    @property
    def settings(self) -> str: ...

    @property
    def key(self) -> Hashable: ...


R = TypeVar("R", bound=Finished)


class KeptRuns(Generic[R]):
    """One JSON object a line, so that an interruption loses one run.

    Args:
        path: the file; None: they are not kept on disk.
        kind: of the runs.
    """

    def __init__(self, path: Path | None, kind: type[R]) -> None:
        self._path, self._kind = path, kind
        self.runs: dict[Any, R] = {}
        """By their keys."""
        for line in path.read_text("utf-8").splitlines() if path is not None and path.exists() else ():
            try:
                self._put(self._of(json.loads(line)))
            except (TypeError, ValueError):
                continue  # it was cut short

    def add(self, found: R) -> None:
        """Keep a run; it is on disk when this returns."""
        self._put(found)
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(asdict(found))}\n")  # after a line that was cut short
            file.flush()
            os.fsync(file.fileno())

    def has(self, job: Wanted) -> bool:
        """Whether a run with these settings is kept."""
        found = self.runs.get(job.key)
        return found is not None and found.settings == job.settings

    def _put(self, found: R) -> None:
        self.runs[found.key] = found

    def _of(self, told: Mapping[str, Any]) -> R:
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
        return self._kind(**fields)
