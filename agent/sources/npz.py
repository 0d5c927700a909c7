"""Samples from one NumPy archive, as `numpy.savez` writes it."""

import zipfile
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.sources.arrays import samples_from_arrays
from agent.sources.samples import Samples, unreadable
from fedge.data.disclosure import listing, public
from fedge.errors import DataError


@dataclass(frozen=True)
class NpzSource:
    """The arrays `X` and, if they are there, `y`, `series` and `features`. Other arrays are ignored.

    Nothing is unpickled: an array of Python objects is refused.
    """

    path: Path
    newest: int | None = None
    """How many of the last rows are used; None: all."""
    exact: bool = False
    """Whether the rounding of float32 is kept for all columns, and not only where it may matter."""

    def fingerprint(self) -> Hashable:
        """Return the file's inode, size and time of change.

        Raises:
            DataError: the file is not there, or cannot be read.
        """
        try:
            stat = self.path.stat()
        except OSError as error:
            raise unreadable(self.path, error) from None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def read(self) -> Samples:
        """Read the archive.

        Raises:
            DataError: the file is not an archive, is damaged, or holds arrays that do not belong together;
                the text names the array.
        """
        arrays = self._load()
        if "X" not in arrays:
            raise DataError(
                f"{self.path}: holds no array X; its arrays are {listing(sorted(arrays)) or 'none'}",
                public("the archive holds no array X, but {count} others", count=len(arrays)),
            )
        return samples_from_arrays(
            str(self.path),
            arrays["X"],
            arrays.get("y"),
            arrays.get("series"),
            arrays.get("features"),
            newest=self.newest,
            exact=self.exact,
        )

    def _load(self) -> dict[str, Any]:
        name = "X"
        arrays: dict[str, Any] = {}
        try:
            zipfile.ZipFile(self.path).close()  # np.load also opens files that are no archives
            with np.load(self.path, allow_pickle=False) as archive:
                for name in archive.files:
                    wanted = name in {"X", "y", "series", "features"}
                    arrays[name] = archive[name] if wanted else None
        except zipfile.BadZipFile:
            raise DataError(
                f"{self.path}: not a NumPy archive, damaged or cut short; write it with numpy.savez",
                public("the file is no NumPy archive, damaged or cut short"),
            ) from None
        except OSError as error:
            raise unreadable(self.path, error) from None
        except ValueError:
            raise DataError(
                f"{self.path}: array {name}: holds Python objects or is damaged; save text or numbers",
                public("an array of the archive holds Python objects or is damaged"),
            ) from None
        except MemoryError:
            told = public("an array of the archive does not fit into the memory")
            raise DataError(f"{self.path}: array {name}: does not fit into the memory", told) from None
        except Exception:  # zipfile, its decompressors and NumPy raise many types
            raise DataError(
                f"{self.path}: array {name}: is damaged; write the file again",
                public("an array of the archive is damaged"),
            ) from None
        return arrays
