"""The finished runs of a study as lines of JSON in its folder, so that it can be resumed."""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fedge.errors import ConfigError, StateError
from fleet.study.runs import Run
from fleet.study.settings import StudySettings

FILE = "runs.jsonl"
FORMAT = 1


class Book:
    """The file `runs.jsonl`: its first line has the study's settings and data, each other line one run.

    Each run is on disk before `add` returns. A last line that was cut short is dropped.
    """

    def __init__(self, path: Path, runs: list[Run]) -> None:
        self.path = path
        self.runs = runs
        """The runs that the file had when it was opened."""
        self._file = path.open("ab", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ConfigError(
                f"{path}: another `fedge simulate` writes its runs here; wait until it has ended, or name "
                "another folder with --out"
            ) from None

    @classmethod
    def new(cls, folder: Path, settings: StudySettings, data: str) -> Self:
        """Begin a new file in this folder, which is made.

        Args:
            folder: of the study.
            settings: of the study.
            data: the digest of its rows.

        Raises:
            ConfigError: the folder already has one, or cannot be written.
        """
        path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.exists():
                raise ConfigError(
                    f"{folder}: has the results of a study; go on with it with --resume, or name another "
                    "folder with --out"
                )
            if any(folder.iterdir()):
                raise ConfigError(f"{folder}: has other files; name a new folder with --out")
            made = cls(path, [])
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from None
        made._write({"format": FORMAT, "study": plain(settings), "data": data})
        return made

    @classmethod
    def resume(cls, folder: Path, settings: StudySettings, data: str) -> Self:
        """Open the file in this folder to go on.

        Args:
            folder: of the study.
            settings: of the study.
            data: the digest of its rows.

        Raises:
            ConfigError: there is none, or it is of other settings or data; the text names what differs.
            StateError: it cannot be read.
        """
        path = folder / FILE
        if not path.exists():
            raise ConfigError(f"{path}: there is no study to resume; run it without --resume")
        try:
            book = cls(path, [])
        except OSError as error:
            raise StateError(f"{path}: cannot be opened: {error.strerror}") from None
        try:
            book._take_up(settings, data)
        except BaseException:
            book._file.close()
            raise
        return book

    def _take_up(self, settings: StudySettings, data: str) -> None:
        path = self.path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StateError(f"{path}: cannot be read: {error.strerror}") from None
        whole = content[: content.rfind(b"\n") + 1]
        try:
            head, *others = [json.loads(line) for line in whole.splitlines()]
            known, before, rows = head["format"], head["study"], head.get("data", data)
            runs = [Run.of_json(told) for told in others]
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"{path}: is damaged ({error!r}); begin anew with another --out") from None
        if known != FORMAT:
            raise ConfigError(
                f"{path}: was written by another version of Fedge; begin anew with another --out"
            )
        if changed := differences(before, plain(settings)):
            raise ConfigError(
                f"{path}: its runs are of other settings, which differ in {', '.join(changed)}: undo these "
                "changes, or begin anew with another --out"
            )
        if rows != data:
            raise ConfigError(
                f"{path}: its runs are of other data than [data] dataset and test now have: restore the "
                "files, or begin anew with another --out"
            )
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        self.runs = runs

    def add(self, run: Run) -> None:
        """Write a run.

        Raises:
            StateError: it cannot be written.
        """
        self._write(run.as_json())
        self.runs.append(run)

    def reread(self) -> None:
        """Take the runs from the file: after an interruption it may have one more than `runs`."""
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        self.runs = [Run.of_json(json.loads(line)) for line in whole.splitlines()[1:]]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _write(self, told: Mapping[str, Any]) -> None:
        try:
            rest = memoryview(json.dumps(told).encode() + b"\n")
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StateError(f"{self.path}: cannot be written: {error.strerror}") from None


def plain(settings: StudySettings) -> dict[str, Any]:
    """The settings as JSON has them, without keys that are not set, which later versions may add."""
    told: dict[str, Any] = settings.model_dump(mode="json", exclude_unset=True)
    return told


def differences(before: Any, after: Any, place: str = "") -> list[str]:
    """The keys in which two values differ, as `[table] key`.

    >>> differences({"study": {"rounds": 5, "name": "a"}}, {"study": {"rounds": 6, "name": "a"}})
    ['[study] rounds']
    """
    if isinstance(before, dict) and isinstance(after, dict) and place.count(".") < 1:
        return [
            found
            for key in sorted(before.keys() | after.keys())
            for found in differences(before.get(key), after.get(key), f"{place}.{key}".strip("."))
        ]
    if before == after:
        return []
    table, _, key = place.partition(".")
    return [f"[{table}] {key}".strip()]
