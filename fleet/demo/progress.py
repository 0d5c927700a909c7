"""A progress bar over the rounds of a federation."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aggregator.ledger.views import RoundRow
from fleet.demo.outcome import trained


class Display(Protocol):
    """A display of a federation's progress."""

    def say(self, text: str) -> None:
        """Show what is happening now, in a few words."""

    def show(self, rows: Sequence[RoundRow], online: int) -> None:
        """Show the rounds so far, and how many devices are online."""


class Silent:
    """Shows nothing."""

    def say(self, text: str) -> None:  # noqa: D102 (see Display)
        return

    def show(self, rows: Sequence[RoundRow], online: int) -> None:  # noqa: D102
        return


class Bar:
    """A line on the terminal, while the context lasts."""

    def __init__(self, rounds: int, devices: int, console: Console) -> None:
        self._devices = devices
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._line = self._progress.add_task("starting", total=rounds, figures="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:  # noqa: D102
        self._progress.update(self._line, description=text)

    def show(self, rows: Sequence[RoundRow], online: int) -> None:  # noqa: D102
        self._progress.update(
            self._line,
            description="survey" if rows and rows[-1].kind == "survey" else "learning",
            completed=len(trained(rows)),
            figures=figures(rows, online, self._devices),
        )


def figures(rows: Sequence[RoundRow], online: int, devices: int) -> str:
    """Accuracy, devices and bytes so far: `accuracy 0.934 · 20/20 devices · 25.1 MB`.

    `devices` is 0 while their number is not known.
    """
    measured = [row.accuracy for row in rows if row.accuracy is not None]
    parts = [f"accuracy {measured[-1]:.3f}"] if measured else []
    sent = sum(row.bytes_up + row.bytes_down for row in rows)
    there = f"{online}/{devices} devices" if devices else f"{online} devices"
    return " · ".join([*parts, there, decimal(sent)])
