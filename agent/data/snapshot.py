"""The snapshot that a device reports in surveys. It stays the same until enough of its rows are new.

An attacker who decides when surveys are made, and of which columns, could compare count, mean and spread of
some rows with those of the same rows and one more, and compute that row. So a device measures one snapshot of
all columns of a source. It is over the same rows whichever columns a task asks for, and every survey reports
it. A new one is measured when `NEW_ROWS` rows of the training part are new, when the owner has changed the
source's section of the configuration, or after `fedge-agent survey --anew`.

Rows are compared by hashes, of which a snapshot keeps the `KEPT` smallest. Up to that many rows these are all
hashes. Beyond that they are a sample, and a row that counts as new is certainly new (bottom-k sketches: Cohen
and Kaplan, "Summarizing Data using Bottom-k Sketches", PODC 2007).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.data.class_mix import Mix, mix_of
from agent.data.division import divide
from agent.data.moments import measured
from agent.data.rules import effective
from agent.settings.data import DataSettings
from agent.sources.samples import Samples
from fedge.data.moments import Moments
from fedge.wire.messages.task import Task

NEW_ROWS = 20
"""How many rows of the training part must be new before it is measured again."""
KEPT = 4_096
"""The number of hashes of rows that are kept, which take 32 KiB."""

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The measurements of one source at one time."""

    settings: bytes
    """SHA-256 of the source's section when it was measured."""
    samples: int
    """The number of measured rows, which are the rows of the training part."""
    columns: tuple[str, ...]
    """`column NAME` if the data name their columns, else `x NUMBER`; `y NUMBER` for answers without names."""
    moments: Moments
    """The moments of the columns, in this order."""
    rows: Hashes
    """The smallest hashes of rows, ascending and all different."""
    mix: Mix | None = None
    """The classes, as surveys report them; None: the owner does not allow it."""

    def tell(self, task: Task) -> tuple[Moments, Moments | None]:
        """Return the moments of a task's features and targets, in its order.

        The moments of a column that was not measured are all 0. Targets: None for a classification.
        """
        named = any(column.startswith("column ") for column in self.columns)
        features = (
            [f"column {name}" for name in task.features]
            if named
            else [f"x {j}" for j in range(len(task.features))]
        )
        if task.targets is None:
            return self._of(features), None
        targets = [f"column {name}" for name in task.targets]
        if not set(targets) <= set(self.columns):
            targets = [f"y {j}" for j in range(len(task.targets))]
        return self._of(features), self._of(targets)

    def _of(self, columns: Sequence[str]) -> Moments:
        where = {column: j for j, column in enumerate(self.columns)}
        at = np.array([where.get(column, -1) for column in columns], dtype=np.int64)

        def pick(part: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.append(part, 0.0)[at]

        return Moments(pick(self.moments.count), pick(self.moments.mean), pick(self.moments.m2))

    def to_bytes(self) -> bytes:
        """Write the snapshot as bytes, to be stored."""
        about: dict[str, Any] = {
            "settings": self.settings.hex(),
            "samples": self.samples,
            "columns": self.columns,
            "mix": None if self.mix is None else [self.mix.rows, self.mix.numbered],
        }
        head = json.dumps(about).encode()
        body = self.moments.to_bytes() + self.rows.astype("<u8").tobytes()
        return len(head).to_bytes(4, "little") + head + body

    @classmethod
    def from_bytes(cls, content: bytes) -> "Snapshot":
        """Read what `to_bytes` has written."""
        size = int.from_bytes(content[:4], "little")
        about, body = json.loads(content[4 : 4 + size]), content[4 + size :]
        columns = tuple(about["columns"])
        cut = 24 * len(columns)
        return cls(
            settings=bytes.fromhex(about["settings"]),
            samples=about["samples"],
            columns=columns,
            moments=Moments.from_bytes(body[:cut], len(columns)),
            rows=np.frombuffer(body[cut:], dtype="<u8").astype(np.uint64),
            mix=_mix_of(about.get("mix")),
        )


def _mix_of(kept: Any) -> Mix | None:
    """Read the classes that `to_bytes` wrote; None if an older program wrote it."""
    if kept is None:
        return None
    rows, numbered = kept
    return Mix(tuple((name, number) for name, number in rows), numbered)


def current(before: Snapshot | None, samples: Samples, settings: DataSettings) -> Snapshot:
    """Return the snapshot to report: the old one, or a new one if that is due."""
    # Only the owner's settings decide. Otherwise a task could choose the rows, and two surveys reveal one.
    own = effective(settings, None)
    training, _ = divide(samples.series, own.holdout.part, own.gap, own.holdout.by, samples.earlier)
    section, hashes = digest_of(settings), hash_rows(samples, training)
    if before is not None and before.settings == section and count_new(before.rows, hashes) < NEW_ROWS:
        return before
    columns, moments = _measure(samples, training)
    mix = mix_of(samples, training, settings.labels) if settings.tell_classes else None
    return Snapshot(section, len(training), columns, moments, hashes[:KEPT], mix)


def digest_of(settings: DataSettings) -> bytes:
    """Compute a digest that changes if the owner changes a source's section, not if an upgrade adds keys."""
    # A key that is written with its default value counts as not set.
    default = effective(DataSettings(), None)
    said = settings.model_copy(
        update={
            name: None
            for name in ("missing", "holdout", "gap", "unknown_labels")
            if getattr(settings, name) == getattr(default, name)
        }
    )
    return hashlib.sha256(said.model_dump_json(exclude_defaults=True).encode()).digest()


def count_new(before: Hashes, now: Hashes) -> int:
    """Count the rows that are certainly new. If `before` is a sample, only rows that would be in it count."""
    seen = now if len(before) < KEPT else now[now <= before[-1]]
    return len(seen) - int(np.isin(seen, before).sum())


def hash_rows(samples: Samples, training: NDArray[np.intp]) -> Hashes:
    """Hash each row of the training part, ascending. A running number distinguishes equal rows.

    So neither the order of the rows matters, nor which rows were removed.
    """
    found = np.zeros(len(training), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for j in range(samples.X.shape[1]):
            column = samples.X[training, j] + np.float32(0)  # -0.0 is 0.0
            column[np.isnan(column)] = np.nan
            found = _mix(found ^ column.view(np.uint32).astype(np.uint64))
        if samples.y is not None:
            answers = samples.y.reshape(len(samples.y), -1)[training]
            for j in range(answers.shape[1]):
                found = _mix(found ^ _numbers(answers[:, j]))
        found.sort()
        first = np.concatenate(([True], found[1:] != found[:-1])) if len(found) else np.zeros(0, dtype=bool)
        starts = np.maximum.accumulate(np.where(first, np.arange(len(found)), 0))
        found = _mix(found + (np.arange(len(found)) - starts).astype(np.uint64))
    return np.unique(found)


def _numbers(values: NDArray[Any]) -> Hashes:
    """Write numbers or names as 64 bits each, independent of the other rows."""
    if values.dtype.kind == "U":
        names, inverse = np.unique(values, return_inverse=True)
        codes = [
            hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8] for name in names.tolist()
        ]
        return np.frombuffer(b"".join(codes), dtype="<u8").astype(np.uint64)[inverse.reshape(-1)]
    return values.astype(np.float64).view(np.uint64)


def _mix(words: Hashes) -> Hashes:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): every bit depends on every other."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _measure(samples: Samples, training: NDArray[np.intp]) -> tuple[tuple[str, ...], Moments]:
    """Measure every column of finite numbers over the rows of the training part; return names and moments."""
    X = samples.X[training]
    names = [f"x {j}" for j in range(X.shape[1])]
    if samples.columns is not None:
        names = [f"column {name}" for name in samples.columns]
    y = np.empty((len(training), 0), dtype=np.float32)
    if samples.y is not None and samples.y.dtype.kind in "fiu":
        with np.errstate(over="ignore"):
            y = samples.y.reshape(len(samples.y), -1)[training].astype(np.float32)
        if samples.unanswered is not None:
            y[samples.unanswered[training]] = np.nan
    finite = [j for j in range(X.shape[1]) if j not in samples.faults and not np.isinf(X[:, j]).any()]
    answers = [j for j in range(y.shape[1]) if not np.isinf(y[:, j]).any()]
    rest = {i: samples.rest[j][training] for i, j in enumerate(finite) if j in samples.rest}
    inputs = measured(_only(X, finite), [names[j].removeprefix("column ") for j in finite], rest)
    outputs = measured(_only(y, answers), [f"y {j}" for j in answers])
    both = zip(_parts(inputs), _parts(outputs), strict=True)
    columns = (*(names[j] for j in finite), *(f"y {j}" for j in answers))
    return columns, Moments(*(np.concatenate(pair) for pair in both))


def _only(table: NDArray[np.float32], columns: list[int]) -> NDArray[np.float32]:
    """Return these columns in row-major order, so that sums depend on the rows alone."""
    return table if len(columns) == table.shape[1] else np.ascontiguousarray(table[:, columns])


def _parts(moments: Moments) -> tuple[NDArray[np.float64], ...]:
    return moments.count, moments.mean, moments.m2
