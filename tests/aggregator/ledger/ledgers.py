"""What the tests write to a ledger."""

import sqlite3
from hashlib import sha256
from pathlib import Path

from aggregator.core.verdicts import Verdict
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.writing import Ledger
from fedge.storage.segments import SUFFIX
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Cohort
from tests.aggregator.stories import blob, digest_of, frames, update

LIFE = LedgerMeta(b"l" * 16, 1, "{}")

COHORTS = (Cohort(fraction=0.1, seed=2**63 - 1), Cohort(fraction=0.2, seed=0))


def admit(ledger: Ledger, device: str, round_id: RoundId, pieces: int = 2) -> bytes:
    message = update(device, round_id)
    for frame in frames(message, pieces):
        ledger.spool(device, frame)
    ledger.save_answer(round_id, device, Verdict(digest_of(message), "admitted", samples=10))
    return digest_of(message)


def model_of(round_id: RoundId) -> Blob:
    return blob(f"model of {round_id}", slot=round_id.round % 2)


def close(ledger: Ledger, round_id: RoundId, **summary: float) -> None:
    ledger.save_round(round_id, "train", 1, COHORTS, 0.0)
    ledger.save_content("model", round_id, model_of(round_id), f"model of {round_id}".encode())
    ledger.close_round(
        round_id, model_of(round_id).digest, 2, 20, {"weight_change": 0.5, **summary}, 1.0, "mean/1"
    )


def count(path: Path, table: str) -> int:
    with sqlite3.connect(path) as db:
        (rows,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    db.close()
    return int(rows)


def segments_of(path: Path) -> set[str]:
    return {file.name for file in path.with_name(path.name + SUFFIX).iterdir()}


def piece_of(device: str, number: int, size: int = 1_000) -> Frame:
    """A frame of an update of its own, with data of its own."""
    (piece,) = frames(update(device))
    name = f"{device} {number}".encode()
    return piece.model_copy(update={"id": sha256(name).digest(), "data": name.ljust(size), "size": 2 * size})
