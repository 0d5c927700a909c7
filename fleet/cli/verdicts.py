"""`fedge verdicts`: how much each device's update counted in a round."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aggregator.aggregation.weighed import FAR
from aggregator.backup.state_dir import load
from aggregator.ledger.layout import FILE
from aggregator.ledger.views import RoundRow, VerdictRow, read_verdicts

Verdicts = tuple[RoundRow, list[VerdictRow]]


def run(config: Path, number: int | None) -> Verdicts:
    """The verdicts of a round of the federation in `config`.

    Raises:
        ConfigError: the configuration is wrong.
        DataError: there is no such round, or its verdicts are no longer kept.
        StateError: there is no ledger, it cannot be read, or it is damaged.
    """
    return read_verdicts(load(config).state.folder / FILE, number)


def as_json(verdicts: Verdicts) -> dict[str, Any]:
    """The round, and its verdicts, for programs."""
    found, rows = verdicts
    return {
        "generation": found.generation,
        "round": found.round,
        "kind": found.kind,
        "closed": found.closed,
        "median_norm": found.median_norm,
        "verdicts": [asdict(row) for row in rows],
    }


def show(verdicts: Verdicts, console: Console) -> None:
    """Print a table; the devices that counted least come first."""
    found, rows = verdicts
    table = Table()
    for name in ("device", "verdict"):
        table.add_column(name)
    for name in ("samples", "counted", "distance", "far in a row"):
        table.add_column(name, justify="right")
    for row in sorted(rows, key=_counted):
        far = "" if row.far is None else f"{row.far:.2f}"
        table.add_row(
            escape(row.device),
            row.verdict if row.reason is None else f"{row.verdict}: {row.reason}",
            str(row.samples),
            "" if row.counted is None else f"{row.counted:.2f}",
            f"[bold]{far}[/bold]" if (row.far or 0) > FAR else far,
            str(row.running or ""),
        )
    console.print(table)
    console.print(
        f"round {found.generation}.{found.round} ({found.kind}, {'closed' if found.closed else 'open'}): "
        f"distances are in median distances of the round's updates{_median(found)}",
        highlight=False,
        soft_wrap=True,
    )


def _median(found: RoundRow) -> str:
    return "" if found.median_norm is None else f"; the median change is {found.median_norm:.3g} long"


def _counted(row: VerdictRow) -> tuple[float, float, str]:
    return (-1.0 if row.counted is None else row.counted), -(row.far or 0.0), row.device
