"""The ledger's books, checked by a second, plain reading of laws 5 and 7 that shares no code with it."""

import hashlib
import json
import math
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
        db.execute("BEGIN")  # one state of the ledger: an aggregator at work frees old rounds meanwhile
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        columns = {row[1] for row in db.execute("PRAGMA table_info(rounds)")}
        rule = "rule" if "rule" in columns else "'mean/1'"  # of an older layout that was not migrated
        rounds = db.execute(
            f"SELECT generation, round, kind, model, devices, samples, {rule}, summary FROM rounds"
            " WHERE closed_at IS NOT NULL AND generation = (SELECT generation FROM life)"
            " AND model IN (SELECT digest FROM contents)"
            " AND (generation, round) IN (SELECT generation, round FROM answers)"
        ).fetchall()
        for generation, number, kind, model, devices, samples, rule, summary in rounds:
            admitted = db.execute(
                "SELECT device, digest, samples FROM answers WHERE generation = ? AND round = ?"
                " AND verdict = 'admitted'",
                (generation, number),
            ).fetchall()
            assert (devices, samples) == (len(admitted), sum(n for _, _, n in admitted)), (generation, number)
            if kind != "train":
                continue
            vectors, counts = {}, {}
            for device, digest, n in admitted:
                update = _update(db, device, digest)
                assert (update["device"], update["generation"], update["round"], update["samples"]) == (
                    device,
                    generation,
                    number,
                    n,
                )
                vectors[device] = np.frombuffer(update["body"], "<f4").astype(np.float64)
                counts[device] = n
            stored = _vector(db, model)
            assert rule in ("mean/1", "mean/2")
            if rule == "mean/2":
                (before,) = db.execute(
                    "SELECT model FROM rounds WHERE generation = ? AND round = ?", (generation, number - 1)
                ).fetchone()
                _bound(vectors, counts, _vector(db, before).astype(np.float64), json.loads(summary))
            total = _tree({device: vectors[device] * float(counts[device]) for device in vectors}, 0, 256)
            assert total is not None
            mean = (total / float(sum(counts.values()))).astype(np.float32)
            left = _error(db, generation, number)
            if left is not None:  # sent in a coded form: it lacks of the master what is left for the next one
                before_it = _error(db, generation, number - 1)
                master = mean if before_it is None else mean + before_it
                assert (master - stored).tobytes() == left.tobytes(), (
                    f"round {generation}.{number} loses steps"
                )
            else:
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


def _bound(
    vectors: dict[str, Vector], counts: dict[str, int], base: Vector, factors: dict[str, float]
) -> None:
    """Clip each difference and cap each n_k by the round's lower medians, as rule mean/2 says."""
    middle = (len(vectors) - 1) // 2
    lengths = {device: _length(vector - base) for device, vector in vectors.items()}
    longest = factors["clip_norm"] * sorted(lengths.values())[middle]
    if factors["clip_norm"] and len(vectors) >= 5:
        for device, length in lengths.items():
            if length > longest:
                vectors[device] = (vectors[device] - base) * (longest / length) + base
    most = math.floor(factors["max_weight"] * sorted(counts.values())[middle])
    if factors["max_weight"]:
        counts.update({device: min(n, most) for device, n in counts.items()})


def _length(difference: Vector) -> float:
    """Squares added by halves within 16,384 of them, and these sums one after the other."""
    total = 0.0
    for start in range(0, len(difference), 16_384):
        piece = difference[start : start + 16_384] ** 2
        piece = np.concatenate((piece, np.zeros(16_384 - len(piece))))
        while len(piece) > 1:
            piece = piece[: len(piece) // 2] + piece[len(piece) // 2 :]
        total += float(piece[0])
    return math.sqrt(total)


def _vector(db: sqlite3.Connection, model: bytes) -> NDArray[np.float32]:
    (content,) = db.execute("SELECT data FROM contents WHERE digest = ?", (model,)).fetchone()
    assert hashlib.sha256(content).digest() == model
    return np.frombuffer(msgpack.unpackb(content)["body"], "<f4")


def _error(db: sqlite3.Connection, generation: int, number: int) -> NDArray[np.float32] | None:
    """What the announced weights of a round lack of the master's; None: they were sent as they are."""
    (layout,) = db.execute("PRAGMA user_version").fetchone()
    at = (generation, number)
    row = (
        layout >= 14
        and db.execute("SELECT errors FROM codings WHERE (generation, round) = (?, ?)", at).fetchone()
    )
    if not row:
        return None
    head, _, numbers = row[0].partition(b"\n")
    assert json.loads(head).keys() == {"weights"}
    return np.frombuffer(numbers, "<f4")


def _update(db: sqlite3.Connection, device: str, digest: bytes) -> dict[str, Any]:
    (_, _, path), *_ = db.execute("PRAGMA database_list").fetchall()
    (layout,) = db.execute("PRAGMA user_version").fetchone()
    place = "segment, offset, length" if layout >= 13 else "NULL, NULL, NULL"
    pieces = db.execute(
        f"SELECT data, {place} FROM frames WHERE device = ? AND digest = ? ORDER BY i", (device, digest)
    ).fetchall()
    whole = b""
    for data, segment, offset, length in pieces:
        if segment is not None:
            data = Path(f"{path}-updates/{segment}").read_bytes()[offset : offset + length]
        whole += data
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
