"""The ledger's books, checked by a second, plain reading of law 5 that shares no code with the first."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from tests.system.fleet_of_processes import FleetOfProcesses

Vector = NDArray[np.float64]


def check_books(fleet: FleetOfProcesses) -> int:
    """As `check_ledger`, of the one that this fleet's aggregator keeps."""
    return check_ledger(fleet.ledger)


def check_ledger(ledger: Path) -> int:
    """Every admitted update counts exactly once, in its own round; returns how many rounds were checked.

    Each kept training round of this generation is computed again from the frames of the updates admitted in
    it, and must give the stored model bit for bit: one update too many, too few or twice would show.
    """
    checked = 0
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rounds = db.execute(
            "SELECT generation, round, kind, model, devices, samples FROM rounds WHERE closed_at IS NOT NULL"
            " AND generation = (SELECT generation FROM life) AND model IN (SELECT digest FROM contents)"
        ).fetchall()
        for generation, number, kind, model, devices, samples in rounds:
            admitted = db.execute(
                "SELECT device, digest, samples FROM answers WHERE generation = ? AND round = ?"
                " AND verdict = 'admitted'",
                (generation, number),
            ).fetchall()
            assert (devices, samples) == (len(admitted), sum(n for _, _, n in admitted)), (generation, number)
            if kind != "train":
                continue
            terms = {}
            for device, digest, n in admitted:
                update = _update(db, device, digest)
                assert (update["device"], update["generation"], update["round"], update["samples"]) == (
                    device,
                    generation,
                    number,
                    n,
                )
                terms[device] = np.frombuffer(update["body"], "<f4").astype(np.float64) * float(n)
            (content,) = db.execute("SELECT data FROM contents WHERE digest = ?", (model,)).fetchone()
            assert hashlib.sha256(content).digest() == model
            stored = np.frombuffer(msgpack.unpackb(content)["body"], "<f4")
            total = _tree(terms, 0, 256)
            assert total is not None
            mean = (total / float(samples)).astype(np.float32)
            assert mean.tobytes() == stored.tobytes(), f"round {generation}.{number} is another mean"
            checked += 1
    return checked


def check_stores(fleet: FleetOfProcesses) -> None:
    """What a device believes to be admitted, the ledger has as admitted."""
    for device in fleet.devices.values():
        saved = device.saved()
        assert saved is not None, f"{device.name} never saved an update"
        generation, number, digest, verdict = saved
        if verdict == "admitted":
            answer = fleet.answers(number, generation)[device.name]
            assert (answer[0], answer[2]) == ("admitted", digest), device.name


def _update(db: sqlite3.Connection, device: str, digest: bytes) -> dict[str, Any]:
    pieces = db.execute(
        "SELECT data FROM frames WHERE device = ? AND digest = ? ORDER BY i", (device, digest)
    ).fetchall()
    whole = b"".join(data for (data,) in pieces)
    assert hashlib.sha256(whole).digest() == digest, f"the update of {device} is not what was admitted"
    update: dict[str, Any] = msgpack.unpackb(whole)
    return update


def _tree(terms: dict[str, Vector], low: int, high: int) -> Vector | None:
    """Σ n_k w_k over the lanes low…high-1: by device within a lane, lanes by a binary tree."""
    if high - low == 1:
        total: Vector | None = None
        for device in sorted(terms):
            if hashlib.sha256(device.encode()).digest()[0] == low:
                total = terms[device] if total is None else total + terms[device]
        return total
    middle = (low + high) // 2
    left, right = _tree(terms, low, middle), _tree(terms, middle, high)
    if left is None or right is None:
        return right if left is None else left
    return left + right
