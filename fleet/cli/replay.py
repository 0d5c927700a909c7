"""`fedge replay`: compute a round again from the aggregator's ledger, and report the result."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aggregator.aggregation.replay import Replayed, replay
from aggregator.backup.state_dir import load
from aggregator.ledger.layout import FILE


def run(config: Path, number: int) -> Replayed:
    """Compute a round of the federation in `config` again.

    Raises:
        ConfigError: the configuration is wrong.
        DataError: there is no such round, it is still open, its updates are deleted, or its rule is unknown.
        StateError: there is no ledger, it cannot be read, or it is damaged.
    """
    settings = load(config)
    return replay(settings.state.folder / FILE, number, settings.federation.seed)


def as_json(replayed: Replayed) -> dict[str, Any]:
    """The result for programs: digests in hex, and n_k by device."""
    return {
        "generation": replayed.round.generation,
        "round": replayed.round.round,
        "kind": replayed.kind,
        "rule": replayed.rule,
        "same": replayed.same,
        "announced": replayed.announced.hex(),
        "computed": replayed.computed.hex(),
        "samples": dict(replayed.samples),
    }


def show(replayed: Replayed, console: Console) -> None:
    """Print the verdict and the devices that counted."""
    table = Table()
    table.add_column("device")
    table.add_column("samples", justify="right")
    for device, samples in sorted(replayed.samples.items()):
        table.add_row(device, str(samples))
    console.print(table)
    what = f"round {replayed.round} ({replayed.kind}, {replayed.rule}, {len(replayed.samples)} devices): "
    if replayed.same:
        verdict = f"the same model to the bit, {replayed.announced.hex()[:16]}…"
    elif not replayed.frozen:
        verdict = "[bold]not the same frozen layers[/bold] as those that were announced"
    else:
        verdict = (
            f"[bold]not the same model[/bold]: {replayed.announced.hex()[:16]}… was announced, "
            f"{replayed.computed.hex()[:16]}… is computed"
        )
    console.print(what + verdict, highlight=False, soft_wrap=True)
