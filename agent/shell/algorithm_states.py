"""The table `states` of a device's memory: the current state of an algorithm, and the one that is pending.

The table does not store which state is the current one. The state whose update is in the outbox waits for the
verdict on that update: with "admitted" it becomes the current one, with "refused" it is void. The other state
is of an earlier update that was admitted. So one row holds the verdict and decides about the state, and no
byte of a state is written twice.
"""

import sqlite3

from agent.core.state import AlgorithmState
from agent.shell.memory_proofs import proof_of_state
from fedge.wire.freshness import RoundId

_CURRENT = (
    " FROM states LEFT JOIN outbox USING (digest) LEFT JOIN verdict USING (digest)"
    " WHERE outbox.one IS NULL OR verdict = 'admitted' ORDER BY outbox.one IS NULL LIMIT 1"
)
"""The current state: that of the update in the outbox if it was admitted, else that of an earlier update."""


def current(db: sqlite3.Connection) -> AlgorithmState | None:
    """Return the state of the newest admitted update that had one."""
    row = db.execute(f"SELECT states.generation, states.round, lineage, data{_CURRENT}").fetchone()
    return AlgorithmState(RoundId(row[0], row[1]), bytes(row[2]), bytes(row[3])) if row else None


def current_round(db: sqlite3.Connection) -> RoundId | None:
    """Return the round of `current`, without reading its data."""
    row = db.execute(f"SELECT states.generation, states.round{_CURRENT}").fetchone()  # a text of ours
    return RoundId(*row) if row else None


def replace_pending(db: sqlite3.Connection, digest: bytes, pending: AlgorithmState | None) -> None:
    """Write the state that waits for the verdict on an update into the slot without the current state.

    Call this before the outbox changes, in the same transaction. The former pending state is dropped.
    """
    row = db.execute(f"SELECT slot{_CURRENT}").fetchone()  # a text of ours
    taken = row[0] if row else None
    slot = None if pending is None else 1 if taken == 0 else 0
    db.execute("DELETE FROM states WHERE slot IS NOT ? AND slot IS NOT ?", (taken, slot))
    if pending is None or slot is None:
        return
    db.execute(
        "INSERT INTO states VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " digest = excluded.digest, generation = excluded.generation, round = excluded.round,"
        " lineage = excluded.lineage, proof = excluded.proof, data = excluded.data",
        (
            slot,
            digest,
            *pending.round,
            pending.lineage,
            proof_of_state(slot, digest, pending),
            pending.data,
        ),
    )
