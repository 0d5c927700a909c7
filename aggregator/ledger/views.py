"""Rounds and devices as they are shown to people, read while the aggregator runs."""

import json
from dataclasses import dataclass
from pathlib import Path

from aggregator.ledger.layout import COUNTS_MISSES, TELLS_DECLINES, TELLS_USES
from aggregator.ledger.reading import connect_read_only
from fedge.algorithms.rules.columns import Outlying
from fedge.wire.freshness import RoundId


@dataclass(frozen=True)
class RoundRow:
    """One round, as shown to people."""

    generation: int
    round: int
    kind: str
    attempt: int
    closed: bool
    devices: int
    """Updates that counted."""
    samples: int
    seconds: float | None
    """From the round before being closed to this one being closed; of the time before a restart only what the
    attempt that was open had lasted."""
    accuracy: float | None
    """Of the model the round began from, on the devices' held-out parts."""
    held_loss: float | None
    loss_before: float | None
    loss: float | None
    """Mean training loss after local training."""
    weight_change: float | None
    bytes_up: int
    bytes_down: int
    outlying_devices: int = 0
    """Of a survey: how many devices lie far from the fleet in some column."""
    outlying: tuple[str, ...] = ()
    """Of a survey: the farthest of them, by column and how far."""
    rmse: float | None = None
    """Of a regression, in the target's unit; as `accuracy`."""
    mae: float | None = None
    rmse_mean: float | None = None
    """The RMSE of always answering with the mean that the survey found."""


@dataclass(frozen=True)
class DeviceRow:
    """One device, as shown to people."""

    device: str
    online: bool
    version: str | None
    samples: int | None
    holds: bytes | None
    round: RoundId
    admitted: int
    refused: int
    last_refusal: str | None
    seen_at: float | None
    """When it last said something new of itself, in seconds since 1970; None if that was never noted."""
    missed: int
    """Deadlines that it let pass in a row, at most as many as make rounds wait for it no longer."""
    declined: "Declined | None" = None
    """Why it does not take part, if it says so."""
    uses: bytes | None = None
    """Digest of the model that it predicts with, if its owner's gate keeps that instead of what it holds."""


@dataclass(frozen=True)
class Declined:
    """Why a device does not take part, as shown to people."""

    reason: str
    detail: str
    since: float | None
    """In seconds since 1970; None: a program before this one noted it."""


def read_rounds(path: Path) -> list[RoundRow]:
    """Every round of the newest generation, oldest first; safe while the aggregator runs.

    Raises:
        StateError: there is no ledger, or it cannot be read.
    """
    with connect_read_only(path) as db:
        rows = db.execute(
            "SELECT generation, round, kind, attempt, closed_at IS NOT NULL,"
            " coalesce(devices, 0), coalesce(samples, 0), summary FROM rounds"
            " WHERE generation = (SELECT generation FROM life) ORDER BY round"
        ).fetchall()
    return [_round_row(*row) for row in rows]


def _round_row(
    generation: int,
    round_: int,
    kind: str,
    attempt: int,
    closed: int,
    devices: int,
    samples: int,
    summary: str,
) -> RoundRow:
    found = json.loads(summary)
    return RoundRow(
        generation=generation,
        round=round_,
        kind=kind,
        attempt=attempt,
        closed=bool(closed),
        devices=devices,
        samples=samples,
        seconds=found.get("seconds"),
        accuracy=found.get("accuracy"),
        held_loss=found.get("held_loss"),
        loss_before=found.get("loss_before"),
        loss=found.get("loss"),
        weight_change=found.get("weight_change"),
        bytes_up=found.get("bytes_up", 0),
        bytes_down=found.get("bytes_down", 0),
        outlying_devices=found.get("outlying_devices", 0),
        outlying=tuple(str(Outlying(**one)) for one in found.get("outlying", ())),
        rmse=found.get("rmse"),
        mae=found.get("mae"),
        rmse_mean=found.get("rmse_mean"),
    )


def read_devices(path: Path) -> list[DeviceRow]:
    """Every device that was ever seen, by name; safe while the aggregator runs.

    Raises:
        StateError: there is no ledger, or it cannot be read.
    """
    with connect_read_only(path) as db:
        layout = db.execute("PRAGMA user_version").fetchone()[0]
        missed = "missed" if layout >= COUNTS_MISSES else "0"
        since = "declined_at" if layout >= TELLS_DECLINES else "NULL"
        uses = "uses" if layout >= TELLS_USES else "NULL"
        rows = db.execute(
            "SELECT device, online, version, samples, holds, generation, round,"  # nosec B608 # one of two texts of ours
            " (SELECT count(*) FROM answers a WHERE a.device = d.device AND verdict = 'admitted'),"
            f" refused, last_refusal, seen_at, {missed}, declined, {since}, {uses}"
            " FROM devices d ORDER BY device"
        ).fetchall()
    return [
        DeviceRow(
            row[0],
            bool(row[1]),
            row[2],
            row[3],
            row[4],
            RoundId(row[5], row[6]),
            row[7],
            row[8],
            row[9],
            row[10],
            row[11],
            _declined(row[12], row[13]),
            row[14],
        )
        for row in rows
    ]


def _declined(text: str | None, since: float | None) -> Declined | None:
    """As `Ledger.save_status` wrote it."""
    if text is None:
        return None
    reason, _, detail = text.partition(": ")
    return Declined(reason, detail, since)
