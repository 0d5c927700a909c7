"""Find the devices in a folder of files, and the files of each.

data/phone-1.csv, data/phone-2.csv          one CSV a device
data/phone-1/*.csv, data/phone-2/*.csv      a folder a device
data.csv with a column `phone`              one file, split by a column
"""

import csv
import io
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedge.data.disclosure import listing
from fedge.errors import DataError
from fleet.trial.columns import nearest
from fleet.trial.device_ids import device_ids
from fleet.trial.usage import UsageError

SUFFIX = ".csv"
SEPARATORS = ",;\t|"
FEWEST = 2
"""The fewest devices of a fleet."""


@dataclass(frozen=True)
class Found:
    """The content of a folder."""

    devices: tuple["DeviceFiles", ...]
    """By name."""
    unread: tuple[str, ...] = ()
    """Warnings about files and folders that belong to no device."""


@dataclass(frozen=True)
class DeviceFiles:
    """The recordings of one device."""

    device: str
    """Its id in the federation, made from the name of its file or folder, or the value of a column."""
    origin: str
    """The origin of its data, as messages name it."""
    path: str
    """The file or folder as `[data] path` names it, relative to the device's own folder."""
    files: tuple[Path, ...] = ()
    """The files to copy; none: the device's folder has no CSV."""
    text: str | None = None
    """The rows of a file that was split, with its header line; instead of `files`."""

    def put(self, home: Path) -> None:
        """Copy the data into the device's own folder, which is created.

        Raises:
            DataError: a file cannot be read, or the folder cannot be written.
        """
        try:
            home.mkdir(parents=True)
            if self.text is not None:
                (home / self.path).write_text(self.text, encoding="utf-8", newline="")
            elif Path(self.path).suffix:
                shutil.copyfile(self.files[0], home / self.path)
            else:
                (home / self.path).mkdir()
                for file in self.files:
                    shutil.copyfile(file, home / self.path / file.name)
        except OSError as error:
            raise DataError(f"{error.filename or home}: cannot be copied: {error.strerror}") from None


def discover(place: Path, devices_from: str | None = None) -> Found:
    """Find the devices, at least two, and the files that belong to none.

    A folder without a CSV among folders with CSVs is a device too; its data cannot be used.

    Args:
        place: a folder, or with `devices_from` also one file.
        devices_from: the column that names the device of each row.

    Raises:
        UsageError: the place does not exist, or holds only one device.
        DataError: there is nothing to read, or the column is missing.
    """
    if not place.exists():
        raise UsageError(f"{place}: there is no such file or folder; check the path")
    try:
        found = _split(place, devices_from) if devices_from is not None else _listed(place)
    except OSError as error:
        raise DataError(f"{error.filename or place}: cannot be read: {error.strerror}") from None
    if len(found.devices) < FEWEST:
        raise UsageError(
            f"{place}: is the data of one device ({found.devices[0].origin}), and a fleet has at least "
            f"{FEWEST}: name a folder with a CSV or a folder for each device, or split one file with "
            "--devices-from COLUMN"
        )
    return found


def _listed(place: Path) -> Found:
    if place.is_file():
        raise UsageError(
            f"{place}: is one file: say which of its columns names the device of each row with "
            "--devices-from COLUMN, or name a folder with a CSV or a folder for each device"
        )
    files = tables(place)
    folders = [(folder, tables(folder)) for folder in sorted(place.iterdir()) if _is_shown_folder(folder)]
    full = [folder for folder, inside in folders if inside]
    if files and full:
        raise UsageError(
            f"{place}: holds both CSV files ({files[0].name}) and folders of them ({full[0].name}): "
            "put each device's data into one file or one folder, all devices alike"
        )
    if full:
        ids = device_ids([folder.name for folder, _ in folders])
        return Found(
            tuple(
                DeviceFiles(device, f"{folder.name}/", "data", files=tuple(inside))
                for device, (folder, inside) in zip(ids, folders, strict=True)
            ),
            _unread(place, [*_others(place), *(file for folder in full for file in _others(folder))]),
        )
    if not files:
        raise DataError(f"{place}: {_what_else(place)}")
    return Found(
        tuple(
            DeviceFiles(device, file.name, f"data{SUFFIX}", files=(file,))
            for device, file in zip(device_ids([file.stem for file in files]), files, strict=True)
        ),
        _unread(place, [*_others(place), *(folder for folder, _ in folders)]),
    )


def _others(folder: Path) -> list[Path]:
    """The files of a folder that are no CSV."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() != SUFFIX and not file.name.startswith(".") and file.is_file()
    )


def _unread(place: Path, others: Sequence[Path]) -> tuple[str, ...]:
    if not others:
        return ()
    names = listing([f"{other.relative_to(place)}{'/' * other.is_dir()}" for other in others])
    text = f"not read, because their names do not end in {SUFFIX}: {names}"
    return (f"{text}; if that is data of a device, write it as CSV with a header line",)


def tables(folder: Path) -> list[Path]:
    """The CSV files of a folder, by name, as an agent reads them."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() == SUFFIX and not file.name.startswith(".") and file.is_file()
    )


def _is_shown_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _what_else(place: Path) -> str:
    others = Counter(
        path.suffix.lower() for path in place.rglob("*") if path.is_file() and not path.name.startswith(".")
    )
    others.pop(SUFFIX, None)
    text = "holds no file whose name ends in .csv, nor a folder with such files"
    if others:
        suffix, times = others.most_common(1)[0]
        text += f"; there are {times} that end in {suffix or 'nothing'}: write them as CSV with a header line"
    return text


def _split(place: Path, column: str) -> Found:
    files = [place] if place.is_file() else tables(place)
    if not files:
        raise DataError(f"{place}: {_what_else(place)}")
    header: list[str] | None = None
    separator = ","
    rows: dict[str, list[list[str]]] = {}
    unread: list[DataError] = []
    for file in files:
        try:
            lines = _text(file)
            names, separator = _header(file, lines, column)
        except DataError as error:
            unread.append(error)
            continue
        if header is not None and names != header:
            raise DataError(
                f"{file}: line 1: its columns differ from those of {files[0]}; give all files the same"
            )
        header = names
        at = names.index(column)
        reader = csv.reader(io.StringIO(lines), delimiter=separator)
        next(reader)
        for cells in reader:
            if not cells:
                continue
            if len(cells) <= at or not cells[at].strip():
                raise DataError(
                    f"{file}: line {reader.line_num}: column {column!r} is empty, so this row belongs to no "
                    "device; complete or remove it"
                )
            rows.setdefault(cells[at].strip(), []).append(cells)
    if header is None:
        raise unread[0]
    if not rows:
        raise DataError(f"{files[0]}: has a header but no rows")
    names = sorted(rows, key=_natural)
    others = [] if place.is_file() else _others(place)
    return Found(
        tuple(
            DeviceFiles(
                device, f"{column} = {name}", f"data{SUFFIX}", text=_written([header, *rows[name]], separator)
            )
            for device, name in zip(device_ids(names), names, strict=True)
        ),
        (*(f"not read: {error}" for error in unread), *_unread(place, others)),
    )


def _text(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: is not UTF-8; write it in that encoding") from None
    if not text.strip():
        raise DataError(f"{file}: is empty; it must begin with a header line")
    return text


def _header(file: Path, text: str, column: str) -> tuple[list[str], str]:
    """The names in the first line, and the separator by which `column` is one of them."""
    first = text.split("\n", 1)[0].rstrip("\r")
    readings = [
        ([name.strip() for name in next(csv.reader([first], delimiter=s), [])], s) for s in SEPARATORS
    ]
    for names, separator in readings:
        if column in names:
            return names, separator
    names = max(readings, key=lambda reading: len(reading[0]))[0]
    raise DataError(
        f"{file}: line 1: there is no column {column!r}, which --devices-from names{nearest(column, names)}; "
        f"the columns are {listing(names)}"
    )


def _written(rows: Iterable[Sequence[str]], separator: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _natural(name: str) -> list[tuple[int, str]]:
    """The sort key by which 10 comes after 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]
