"""The table `personal` of a device's memory: what it keeps of its own models, in one row."""

import sqlite3

from agent.core.state import SHARED, USES, PersonalState
from agent.shell.memory_proofs import proof_of_personal
from fedge.wire.freshness import RoundId

COLUMNS = "generation, round, lineage, task, base, name, chose, data"


def read(db: sqlite3.Connection) -> PersonalState | None:
    """Return what is kept; None: nothing."""
    row = db.execute(f"SELECT {COLUMNS} FROM personal").fetchone()  # noqa: S608 # a text of ours
    return of_row(*row) if row else None


def of_row(
    generation: int, round_: int, lineage: bytes, task: bytes, base: bytes, name: str, chose: int, data: bytes
) -> PersonalState:
    """Return what a row of `COLUMNS` holds.

    A program between two versions let a device use the model alone, and stored `chose` 2. Such a device uses
    the shared model until its next round has made a personal one; what the round continues from is kept.
    """
    if chose not in range(len(USES)):
        chose = SHARED
    return PersonalState(RoundId(generation, round_), lineage, task, base, name, chose, data)


def replace(db: sqlite3.Connection, state: PersonalState) -> None:
    """Write the row anew; call this in the transaction that saves the update."""
    db.execute(
        # Not REPLACE: a row of the same size is written into the old pages and no others.
        f"INSERT INTO personal (one, {COLUMNS}, proof) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        " ON CONFLICT DO UPDATE SET generation = excluded.generation, round = excluded.round,"
        " lineage = excluded.lineage, task = excluded.task, base = excluded.base, name = excluded.name,"
        " chose = excluded.chose, data = excluded.data, proof = excluded.proof",
        (
            *state.round,
            state.lineage,
            state.task,
            state.base,
            state.name,
            state.chose,
            state.data,
            proof_of_personal(state),
        ),
    )
