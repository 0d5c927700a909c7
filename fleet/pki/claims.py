"""Claims: rights to certificates, given away as tokens. Only hashes of their secrets are stored."""

import secrets
from dataclasses import dataclass

from fedge.errors import ConfigError
from fedge.identity.provisioning import HASH_BYTES, SALT_BYTES, Verifier
from fedge.identity.token import Token
from fleet.pki.decision import Claim
from fleet.pki.register import Register

_CLAIMS = "SELECT name, federation, uses, used, expires_at, revoked_at, proof_key, password FROM claims"


@dataclass(frozen=True)
class KeptClaim:
    """A claim, and the hashes to check its token."""

    claim: Claim
    proof_key: bytes
    password: Verifier


class Claims:
    """The register's claims.

    Raises:
        StateError: from any method, as the register.
    """

    def __init__(self, register: Register) -> None:
        self._register = register

    def add(self, token: Token, uses: int, now_s: float, expires_at_s: float) -> None:
        """Store the claim of a new token."""
        password = Verifier.of(token.password, secrets.token_bytes(SALT_BYTES))
        self._register.run(
            "INSERT INTO claims (name, federation, uses, used, made_at, expires_at, proof_key, password)"
            " VALUES (?, ?, ?, 0, ?, ?, ?, ?)",
            token.claim,
            token.federation,
            uses,
            now_s,
            expires_at_s,
            token.proof_key,
            password.salt + password.hash,
        )

    def find(self, name: str) -> KeptClaim | None:
        """One claim; None if there never was one."""
        return next(iter(self._read("WHERE name = ?", name)), None)

    def open(self, now_s: float) -> list[KeptClaim]:
        """The claims that have not ended, also if used up, because a device may repeat its request."""
        return self._read("WHERE expires_at > ? AND revoked_at IS NULL", now_s)

    def of(self, federation: str) -> list[KeptClaim]:
        """All claims that a federation ever gave away."""
        return self._read("WHERE federation = ?", federation)

    def enrolled(self, name: str) -> list[str]:
        """The names of the identities that a claim was used for."""
        rows = self._register.run("SELECT name FROM identities WHERE claim = ? ORDER BY name", name)
        return [str(identity) for (identity,) in rows]

    def count_use(self, name: str, identity: str) -> None:
        """Record that a device was enrolled with this claim."""
        self._register.run("UPDATE claims SET used = used + 1 WHERE name = ?", name)
        self._register.run("UPDATE identities SET claim = ? WHERE name = ?", name, identity)

    def revoke(self, name: str, now_s: float) -> list[str]:
        """Withdraw a claim.

        Returns:
            The names of the identities it was used for.

        Raises:
            ConfigError: no claim ever had this name.
        """
        if self.find(name) is None:
            raise ConfigError(f"{name}: no such claim was ever made; `fedge tokens` lists them")
        self._register.run(
            "UPDATE claims SET revoked_at = coalesce(revoked_at, ?) WHERE name = ?", now_s, name
        )
        return self.enrolled(name)

    def _read(self, where: str, *values: object) -> list[KeptClaim]:
        # `where` is a constant of this file; values from outside are in `values`.
        rows = self._register.run(f"{_CLAIMS} {where} ORDER BY name", *values)
        return [
            KeptClaim(
                Claim(name, federation, uses, used, expires_at, revoked_at is not None),
                bytes(proof_key),
                Verifier(salt=password[:SALT_BYTES], hash=password[SALT_BYTES : SALT_BYTES + HASH_BYTES]),
            )
            for name, federation, uses, used, expires_at, revoked_at, proof_key, password in rows
        ]
