"""Proofs in a device's memory: short checksums of the content of its rows.

SQLite notices damage to its pages, but not a flipped bit in a number or in a payload. So the rows of `seen`,
`outbox`, `signers`, `told`, `states` and `personal` hold a proof of their content. The digest in the outbox
proves its payload.
"""

import sqlite3
from hashlib import sha256
from pathlib import Path

from agent.core.state import AlgorithmState, PersonalState
from fedge.errors import DamagedState
from fedge.storage.databases import database_error
from fedge.wire.freshness import Attempt, RoundId


def examine(db: sqlite3.Connection, path: Path) -> bool:
    """Check all proofs, and the saved update against its digest; returns whether there is a state.

    Raises:
        DamagedState: something does not match its proof.
        StateError: the database cannot be read.
    """
    try:
        seen = db.execute("SELECT generation, round, attempt, proof FROM seen").fetchone()
        outbox = db.execute(
            "SELECT generation, round, proof, digest, payload, verdict"
            " FROM outbox LEFT JOIN verdict USING (digest)"
        ).fetchone()
        signers = db.execute("SELECT keys, proof FROM signers").fetchone()
        told = db.execute("SELECT source, snapshot, proof FROM told").fetchall()
        states = db.execute(
            "SELECT slot, digest, generation, round, lineage, data, proof FROM states"
        ).fetchall()
        personal = db.execute(
            "SELECT generation, round, lineage, task, base, name, chose, data, proof FROM personal"
        ).fetchone()
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    for slot, digest, generation, round_, lineage, data, proof in states:
        found = AlgorithmState(RoundId(generation, round_), lineage, data)
        whole = all(isinstance(value, bytes) for value in (digest, lineage, data))
        if not whole or proof != proof_of_state(slot, digest, found):
            raise DamagedState(f"{path}: is damaged (what the algorithm remembers does not match its proof)")
    if personal is not None:
        generation, round_, *fields, proof = personal
        kept = PersonalState(RoundId(generation, round_), *fields)
        kinds = (bytes, bytes, bytes, str, int, bytes)
        if not all(map(isinstance, fields, kinds)) or proof != proof_of_personal(kept):
            raise DamagedState(f"{path}: is damaged (the device's own models do not match their proof)")
    for source, content, found in told:
        if found != proof_of_told(source, content):
            raise DamagedState(f"{path}: is damaged (what was told of {source!r} does not match its proof)")
    if signers is not None and signers[1] != proof_of_keys(signers[0]):
        raise DamagedState(f"{path}: is damaged (the signing keys do not match their proof)")
    if seen is not None and seen[3] != proof_of_seen(attempt_of(*seen[:3])):
        raise DamagedState(f"{path}: is damaged (the newest round does not match its proof)")
    if outbox is not None:
        generation, round_, proof, digest, payload, verdict = outbox
        if verdict not in (None, "admitted", "refused"):
            raise DamagedState(f"{path}: is damaged (the verdict on the saved update is {verdict!r})")
        if (
            proof != proof_of_update(RoundId(generation, round_), digest)
            or digest != sha256(payload).digest()
        ):
            raise DamagedState(f"{path}: is damaged (the saved update does not match its digest)")
    return bool(states)


def attempt_of(generation: int, round_: int, number: int) -> Attempt:
    """The attempt of a row."""
    return Attempt(RoundId(generation, round_), number)


def proof_of_seen(attempt: Attempt) -> bytes:
    """The proof of `seen`; of a first attempt that of layouts before 4, which had no attempts."""
    return proof_of_update(attempt.round, str(attempt.number).encode() if attempt.number else b"")


def proof_of_update(round_id: RoundId, digest: bytes = b"") -> bytes:
    """The proof of a round, with the digest of the update made in it."""
    return sha256(f"{round_id.generation}|{round_id.round}|".encode() + digest).digest()[:8]


def proof_of_keys(keys: bytes) -> bytes:
    """The proof of `signers`."""
    return sha256(keys).digest()[:8]


def proof_of_told(source: str, content: bytes) -> bytes:
    """The proof of a row of `told`."""
    return sha256(source.encode() + b"|" + content).digest()[:8]


def proof_of_state(slot: int, digest: bytes, state: AlgorithmState) -> bytes:
    """The proof of a row of `states`."""
    head = f"{slot}|{state.round.generation}|{state.round.round}|{len(digest)}|{len(state.lineage)}|"
    return sha256(b"".join((head.encode(), digest, state.lineage, state.data))).digest()[:8]


def proof_of_personal(state: PersonalState) -> bytes:
    """The proof of the row of `personal`."""
    head = "|".join(
        map(
            str, (*state.round, len(state.lineage), len(state.task), len(state.base), state.chose, state.name)
        )
    )
    content = (head.encode(), b"|", state.lineage, state.task, state.base, state.data)
    return sha256(b"".join(content)).digest()[:8]
