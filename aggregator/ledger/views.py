"""Rounds and devices in the form that people are shown; they can be read while the aggregator runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregator.ledger.layout import COUNTS_MISSES, TELLS_DECLINES, TELLS_USES, TELLS_WEIGHTS
from aggregator.ledger.reading import connect_read_only
from fedge.algorithms.rules.outlying import Outlying
from fedge.errors import DataError
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
    """The number of updates that counted."""
    samples: int
    """The sum of their n_k."""
    seconds: float | None
    """From the closing of the round before to the closing of this one. After a restart only the open
    attempt's duration is included."""
    accuracy: float | None
    """The accuracy of the model that the round began with, on the devices' held-out parts."""
    held_loss: float | None
    """The loss of that model on the same parts."""
    loss_before: float | None
    """Mean training loss before local training."""
    loss: float | None
    """Mean training loss after local training."""
    weight_change: float | None
    """‖w' - w‖ / ‖w‖, from the model before to the model of this round."""
    bytes_up: int
    """Bytes of the updates that counted."""
    bytes_down: int
    """Bytes that the devices say they received."""
    outlying_devices: int = 0
    """For a survey: how many devices are far from the fleet in some column."""
    outlying: tuple[str, ...] = ()
    """For a survey: the farthest device, by column, and how far it is."""
    rmse: float | None = None
    """For a regression: the root mean squared error, in the target's unit, of the model that the round began
    with, on the devices' held-out parts."""
    mae: float | None = None
    """The mean absolute error, measured in the same way."""
    rmse_mean: float | None = None
    """The RMSE of always answering with the mean that the survey found."""
    accuracy_personal: float | None = None
    """Like `accuracy`, of the models that the devices use: the shared one, or one of their own."""
    accuracy_alone: float | None = None
    """Like `accuracy`, of models that each device has trained alone, with `[personal] compare`."""
    rmse_personal: float | None = None
    """Like `rmse`, of the models that the devices use."""
    rmse_alone: float | None = None
    """Like `rmse`, of models that each device has trained alone."""
    compared: int = 0
    """The number of devices that compare the model that they use with one trained alone."""
    worse_off: int = 0
    """How many of these are worse off than alone by more than one held-out row."""
    shared_worse_off: int = 0
    """How many would be so with the shared model."""
    clusters: tuple[int, ...] = ()
    """How many devices trained each of the shared models, if there are several."""
    median_norm: float | None = None
    """The median length of the devices' changes ‖w_k - w‖, in the units of the weights: what the rules
    `norm-bound` and `centered-clipping` shorten to."""


@dataclass(frozen=True)
class DeviceRow:
    """One device, as shown to people."""

    device: str
    online: bool
    version: str | None
    """The version of its program; None: it has sent no status."""
    samples: int | None
    """The rows that it trains on; None: it has not told."""
    holds: bytes | None
    """Digest of the newest model that it has."""
    round: RoundId
    """The newest round that it has seen."""
    admitted: int
    """Its updates that count in kept rounds."""
    refused: int
    """How many of its messages were refused."""
    last_refusal: str | None
    """The reason of the last refusal."""
    seen_at: float | None
    """When its status last changed, in seconds since 1970; None if unknown."""
    missed: int
    """Its misses in a row, counted only up to the number after which rounds do not wait for it."""
    declined: "Declined | None" = None
    """Why it does not take part, if it says so."""
    uses: bytes | None = None
    """Digest of the model that it predicts with, if its owner's gate keeps that one instead of the newest."""


@dataclass(frozen=True)
class Declined:
    """Why a device does not take part, as shown to people."""

    reason: str
    detail: str
    since: float | None
    """Since when, in seconds since 1970; None: an older program stored it."""


def read_rounds(path: Path, since: int = 0) -> list[RoundRow]:
    """The rounds of the newest generation from this number on, oldest first; safe while the aggregator runs.

    Raises:
        StateError: there is no ledger, or it cannot be read.
    """
    with connect_read_only(path) as db:
        rows = db.execute(
            "SELECT generation, round, kind, attempt, closed_at IS NOT NULL,"
            " coalesce(devices, 0), coalesce(samples, 0), summary FROM rounds"
            " WHERE generation = (SELECT generation FROM life) AND round >= ? ORDER BY round",
            (since,),
        ).fetchall()
    return [round_row(json.loads(row[-1]), *row[:-1]) for row in rows]


def round_row(
    found: Mapping[str, Any],
    generation: int,
    round_: int,
    kind: str,
    attempt: int,
    closed: int,
    devices: int,
    samples: int,
) -> RoundRow:
    """One round from its summary, `found`, and its other columns in the ledger."""
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
        accuracy_personal=found.get("accuracy_personal"),
        accuracy_alone=found.get("accuracy_alone"),
        rmse_personal=found.get("rmse_personal"),
        rmse_alone=found.get("rmse_alone"),
        compared=found.get("compared", 0),
        worse_off=found.get("worse_off", 0),
        shared_worse_off=found.get("shared_worse_off", 0),
        clusters=tuple(found.get("clusters", ())),
        median_norm=found.get("median_norm"),
    )


@dataclass(frozen=True)
class VerdictRow:
    """The verdict on one device's update in a round, as shown to people."""

    device: str
    samples: int
    """n_k, as the device tells it."""
    verdict: str
    """`admitted` or `refused`."""
    reason: str | None
    """Of a refusal."""
    detail: str
    counted: float | None
    """The part of it that counted, in [0, 1]; None: the round is open or not one of training, or the update
    was refused."""
    far: float | None
    """Its distance from the others, in median distances of the round; None: it is not stored, because the
    update counted in full and is not far, and the rule does not measure distances."""
    running: int
    """In how many of its updates in a row the device was far, with this one."""


def read_verdicts(path: Path, number: int | None = None) -> tuple[RoundRow, list[VerdictRow]]:
    """The verdicts of a round of the newest generation, by device; safe while the aggregator runs.

    Args:
        path: the ledger's file.
        number: of the round; None: the newest closed round of training.

    Raises:
        DataError: there is no such round, or its verdicts are no longer kept.
        StateError: there is no ledger, or it cannot be read.
    """
    rounds = {row.round: row for row in read_rounds(path)}
    if number is None:
        number = max(
            (n for n, row in rounds.items() if row.closed and row.kind in ("train", "masked")), default=None
        )
        if number is None:
            raise DataError(f"{path}: no round of training has been closed yet")
    if number not in rounds:
        raise DataError(f"{path}: there is no round {number}; the newest is {max(rounds, default='none')}")
    found = rounds[number]
    with connect_read_only(path) as db:
        layout = db.execute("PRAGMA user_version").fetchone()[0]
        weights = "counted, far, running" if layout >= TELLS_WEIGHTS else "NULL, NULL, NULL"
        rows = db.execute(
            f"SELECT device, samples, verdict, reason, detail, {weights} FROM answers"  # noqa: S608 # texts of ours
            " WHERE generation = ? AND round = ? ORDER BY device",
            (found.generation, number),
        ).fetchall()
    if not rows and found.closed and found.devices:
        raise DataError(f"{path}: the verdicts of round {number} are no longer kept ([state] keep_rounds)")
    return found, [_verdict_row(found, *row) for row in rows]


def _verdict_row(
    found: RoundRow,
    device: str,
    samples: int,
    verdict: str,
    reason: str | None,
    detail: str,
    counted: float | None,
    far: float | None,
    running: int | None,
) -> VerdictRow:
    """One row; an update of which nothing is stored counted in full, if the round made a model of updates."""
    if counted is None and found.closed and found.kind == "train" and verdict == "admitted":
        counted = 1.0
    return VerdictRow(device, samples, verdict, reason, detail, counted, far, running or 0)


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
            "SELECT device, online, version, samples, holds, generation, round,"  # noqa: S608 # one of two texts of ours
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
