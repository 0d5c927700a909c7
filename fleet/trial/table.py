"""One device's data in the form in which they are checked before learning."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.sources import Samples
from agent.sources.samples import Fault


@dataclass(frozen=True, eq=False)
class Table:
    """n rows of d named columns."""

    device: str
    name: str
    """The name of the file or folder, for messages."""
    columns: tuple[str, ...]
    X: NDArray[np.float32]
    """Shape (n, d); NaN where a value is missing or no number."""
    labels: NDArray[np.str_] | None
    """Shape (n,), "" where missing; None: there is no column of labels."""
    series: NDArray[np.int64]
    """Shape (n,): which recording a row belongs to."""
    faults: Mapping[str, Fault] = field(default_factory=dict)
    """Columns with other values than numbers, and the first place of one."""

    def __len__(self) -> int:
        return len(self.X)

    def column(self, name: str) -> NDArray[np.float32]:
        """Shape (n,)."""
        return self.X[:, self.columns.index(name)]


def table_of(device: str, samples: Samples) -> Table:
    """The table of samples from a source that names its columns."""
    assert samples.columns is not None
    labels = None
    if samples.y is not None:
        labels = np.char.strip(samples.y.astype(np.str_))
        if samples.unanswered is not None:
            labels[samples.unanswered] = ""
    return Table(
        device=device,
        name=samples.name,
        columns=samples.columns,
        X=samples.X,
        labels=labels,
        series=samples.series,
        faults={
            samples.columns[j]: fault for j, fault in {**_mostly_unread(samples), **samples.faults}.items()
        },
    )


def _mostly_unread(samples: Samples) -> dict[int, Fault]:
    """Columns most of whose cells are no number, with the first of these cells."""
    return {j: about.first for j, about in samples.unread.items() if 2 * about.count > about.rows}
