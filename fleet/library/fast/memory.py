"""Arrays that several processes share: files that each maps into its memory."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

import numpy as np
from numpy.typing import NDArray

from fleet.library.fast.orders import Place


class SharedArrays:
    """The owner of shared arrays, which grow with what is asked for.

    Args:
        folder: where the files are, if there is room; best in memory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._arrays: dict[str, tuple[Place, NDArray[np.float32]]] = {}
        self._files: list[Path] = []

    def array(self, name: str, shape: tuple[int, ...]) -> tuple[Place, NDArray[np.float32]]:
        """The array of this name, with at least as many entries along its first axis as asked for.

        Raises:
            OSError: there is no room for it.
        """
        found = self._arrays.get(name)
        if found is None or found[0].shape[1:] != shape[1:] or found[0].shape[0] < shape[0]:
            rows = shape[0] if found is None else max(shape[0], shape[0] * 5 // 4)
            place = self._made(name, (rows, *shape[1:]))
            if found is not None and found[0].path:
                with suppress(PermissionError):  # Windows keeps a file that is mapped; `close` removes it
                    Path(found[0].path).unlink()
            found = self._arrays[name] = place, mapped(place)
        return found

    def close(self) -> None:
        """Remove the files."""
        self._arrays.clear()
        for path in self._files:
            path.unlink(missing_ok=True)

    def _made(self, name: str, shape: tuple[int, ...]) -> Place:
        size = 4 * int(np.prod(shape))
        if not size:
            return Place("", shape)
        number = len(self._files)
        for path in (
            self._folder / f"{name}-{number}",
            Path(gettempdir()) / f"{self._folder.name}-{name}-{number}",
        ):
            self._files.append(path)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                _reserve(descriptor, size)
            except OSError:
                path.unlink()
                continue
            finally:
                os.close(descriptor)
            return Place(str(path), shape)
        raise OSError(f"simulate: no room for {size} bytes of {name} in {self._folder} or {gettempdir()}")


def mapped(place: Place) -> NDArray[np.float32]:
    """The array at a place."""
    if not np.prod(place.shape):
        return np.empty(place.shape, np.float32)
    return np.memmap(place.path, np.float32, "r+", shape=place.shape).view(np.ndarray)


def _reserve(descriptor: int, size: int) -> None:
    """Make the file that long; where the system can, so that a later write cannot fail."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)
