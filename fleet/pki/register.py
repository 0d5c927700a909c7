"""The register: identities, the certificates that they got, and which are revoked."""

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedge.errors import ConfigError, StateError
from fedge.identity.provisioning import SALT_BYTES, Verifier
from fedge.storage.databases import database_error, make_private, open_database, transaction, wipe
from fleet.pki.authority import BACKDATED, Revoked
from fleet.pki.certificates import Issued
from fleet.pki.identity import Identity

FILE = "registrar.db"
MIGRATIONS = (
    """
CREATE TABLE federations (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE identities (
    name TEXT PRIMARY KEY, federation TEXT NOT NULL REFERENCES federations, enrolled_at REAL NOT NULL,
    revoked_at REAL, renewal BLOB, claim TEXT REFERENCES claims
) WITHOUT ROWID;
CREATE TABLE claims (
    name TEXT PRIMARY KEY, federation TEXT NOT NULL REFERENCES federations, uses INTEGER NOT NULL,
    used INTEGER NOT NULL, made_at REAL NOT NULL, expires_at REAL NOT NULL, revoked_at REAL,
    proof_key BLOB NOT NULL, password BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE certificates (
    serial TEXT PRIMARY KEY, identity TEXT NOT NULL REFERENCES identities, request BLOB UNIQUE,
    not_before REAL NOT NULL, not_after REAL NOT NULL, revoked_at REAL, pem BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX certificates_by_identity ON certificates (identity)
""",
)
"""The layouts, from the first on; see docs/state.md."""
PATIENCE_S = 30.0
"""How long to wait for another process's transaction. No transaction waits for anything itself; the longest,
of thousands of devices at once, takes about a second."""
_MEMBERS = (
    "SELECT name, enrolled_at, revoked_at, renewal,"
    " (SELECT max(not_after) FROM certificates WHERE identity = name) FROM identities"
)


@dataclass(frozen=True)
class Member:
    """One identity, as the register knows it."""

    identity: Identity
    enrolled_at: datetime
    revoked_at: datetime | None
    renewal: Verifier | None
    """The hash of its renewal password."""
    not_after: datetime | None
    """When its newest certificate ends; None if it has none."""


@dataclass(frozen=True)
class Known:
    """An issued certificate."""

    identity: Identity
    not_after: datetime
    revoked: bool
    pem: bytes


class Register:
    """The database; several processes may have it open.

    Raises:
        DamagedState: from any method, also the first, when what is read is not what was written.
        StateError: from any method, when the disk is full, read-only or failing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        make_private(path)
        self._db = open_database(path, MIGRATIONS, patience_s=PATIENCE_S)
        self._db.execute("PRAGMA foreign_keys=ON")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> "Register":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction: all or nothing, and durable. Other writers wait, so prepare slow steps before."""
        return transaction(self._db, self._path)

    def reading(self) -> AbstractContextManager[None]:
        """A consistent read: all reads in the block see the same state; writers do not wait for it."""
        return transaction(self._db, self._path, begin="BEGIN")

    def version(self) -> int:
        """A number that changes whenever another process has changed the register."""
        return int(self.run("PRAGMA data_version")[0][0])

    # ── federations and members ────────────────────────────────────────────────────────────────────

    def add_federation(self, name: str) -> None:
        """Store a federation; an existing one stays."""
        self.run("INSERT INTO federations (name) VALUES (?) ON CONFLICT DO NOTHING", name)

    def federations(self) -> list[str]:
        """All federations of this authority, by name."""
        return [name for (name,) in self.run("SELECT name FROM federations ORDER BY name")]

    def enrol(self, identity: Identity, *, renewal: Verifier | None = None) -> None:
        """Store an identity, or restore a revoked one; `renewal`, if given, replaces its hash."""
        self.run(
            "INSERT INTO identities (name, federation, enrolled_at, renewal) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET revoked_at = NULL, renewal = coalesce(excluded.renewal, renewal)",
            identity.name,
            identity.federation,
            time.time(),
            None if renewal is None else renewal.salt + renewal.hash,
        )

    def member(self, identity: Identity) -> Member | None:
        """One identity; None if it was never enrolled."""
        return next(iter(self._members("WHERE name = ?", identity.name)), None)

    def members(self, federation: str | None = None) -> list[Member]:
        """All identities, revoked ones too, by name; of one federation, or of all."""
        if federation is None:
            return self._members("")
        return self._members("WHERE federation = ?", federation)

    def revoke(self, identity: Identity) -> None:
        """Revoke an identity and all its certificates.

        Raises:
            ConfigError: it was never enrolled.
        """
        if self.member(identity) is None:
            raise ConfigError(f"{identity.name} was never enrolled: `fedge devices` lists who was")
        self.run(
            "UPDATE identities SET revoked_at = coalesce(revoked_at, ?) WHERE name = ?",
            time.time(),
            identity.name,
        )
        self.revoke_certificates(identity)

    def forget(self, identity: Identity, now: float, *, erased: bool) -> bool:
        """Remove the data of a revoked identity; return whether one of its certificates has not ended.

        As long as that is so, its name and their serial numbers stay, because these are needed to refuse
        them. Its name also stays until its status at the broker is `erased`, so that the next run finds it.
        """
        self.run("DELETE FROM certificates WHERE identity = ? AND not_after <= ?", identity.name, now)
        self.run("UPDATE certificates SET pem = x'', request = NULL WHERE identity = ?", identity.name)
        self.run("UPDATE identities SET renewal = NULL, claim = NULL WHERE name = ?", identity.name)
        if self.run("SELECT 1 FROM certificates WHERE identity = ? LIMIT 1", identity.name):
            return True
        if erased:
            self.run("DELETE FROM identities WHERE name = ?", identity.name)
        return False

    def wipe(self) -> None:
        """Write the whole file anew, so that removed data are not in it any more; not in a transaction.

        Raises:
            StateError: also if another process reads it; removed data may still be in the file.
        """
        try:
            wipe(self._path, self._db)
        except self._db.Error as error:
            raise database_error(self._path, error) from error

    # ── certificates ───────────────────────────────────────────────────────────────────────────────

    def add_certificate(self, identity: Identity, issued: Issued, request: bytes | None = None) -> None:
        """Store a certificate; `request` is the SHA-256 of the request that it answers, and unique."""
        self.run(
            "INSERT INTO certificates (serial, identity, request, not_before, not_after, pem)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            issued.serial,
            identity.name,
            request,
            issued.not_before.timestamp(),
            issued.not_after.timestamp(),
            issued.pem,
        )

    def answered(self, request: bytes) -> tuple[Identity, bytes] | None:
        """The identity of a request and its certificate, in PEM; None if the request is new or revoked."""
        rows = self.run(
            "SELECT identity, pem FROM certificates WHERE request = ? AND revoked_at IS NULL", request
        )
        return (self._identity(rows[0][0]), bytes(rows[0][1])) if rows else None

    def certificate(self, serial: str) -> Known | None:
        """One certificate; None if this authority never issued it."""
        rows = self.run(
            "SELECT identity, not_after, revoked_at, pem FROM certificates WHERE serial = ?", serial
        )
        return next(
            (
                Known(self._identity(name), _time(not_after), revoked_at is not None, bytes(pem))
                for name, not_after, revoked_at, pem in rows
            ),
            None,
        )

    def count_issued(self, identity: Identity, since: datetime) -> int:
        """How many certificates an identity got since then."""
        rows = self.run(
            "SELECT count(*) FROM certificates WHERE identity = ? AND not_before >= ?",
            identity.name,
            (since - BACKDATED).timestamp(),
        )
        return int(rows[0][0])

    def revoke_certificates(self, identity: Identity) -> None:
        """Revoke all certificates of an identity; the identity itself stays."""
        self.run(
            "UPDATE certificates SET revoked_at = coalesce(revoked_at, ?), request = NULL WHERE identity = ?",
            time.time(),
            identity.name,
        )

    def revoked(self) -> list[Revoked]:
        """The revoked certificates that have not ended."""
        rows = self.run(
            "SELECT serial, revoked_at FROM certificates WHERE revoked_at IS NOT NULL AND not_after > ?",
            time.time(),
        )
        return [Revoked(serial, _time(at)) for serial, at in rows]

    def _members(self, where: str, *values: object) -> list[Member]:
        # `where` is a constant of this file; values from outside are in `values`.
        rows = self.run(f"{_MEMBERS} {where} ORDER BY name", *values)
        return [
            Member(
                identity=self._identity(name),
                enrolled_at=_time(enrolled_at),
                revoked_at=None if revoked_at is None else _time(revoked_at),
                renewal=None if renewal is None else _verifier(renewal),
                not_after=None if not_after is None else _time(not_after),
            )
            for name, enrolled_at, revoked_at, renewal, not_after in rows
        ]

    def _identity(self, name: str) -> Identity:
        identity = Identity.parse(name)
        if identity is None:
            raise StateError(
                f"{self._path}: {name!r} is not the name of an identity: the register is damaged; restore a "
                "backup"
            )
        return identity

    def run(self, statement: str, *values: object) -> list[Any]:
        """Run one statement; for the modules of this database's tables."""
        try:
            return self._db.execute(statement, values).fetchall()
        except self._db.Error as error:
            raise database_error(self._path, error) from error


def _verifier(kept: bytes) -> Verifier:
    return Verifier(salt=kept[:SALT_BYTES], hash=kept[SALT_BYTES:])


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
