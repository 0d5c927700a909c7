"""`fedge enroll --token`: make and withdraw claims for devices that enrol themselves."""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from fedge.errors import ConfigError
from fedge.identity.token import Token, new_secret
from fleet.pki.bundle import device_settings
from fleet.pki.certificates import utc_now
from fleet.pki.claims import Claims
from fleet.pki.folder import FederationFolder, read
from fleet.pki.publication import Signalled, publish
from fleet.pki.register import Register
from fleet.pki.settings import RegistrarSettings

MOST_USES = 10_000
LONGEST = timedelta(days=30)
"""The longest lifetime, so that a forgotten token does not stay valid."""
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@dataclass(frozen=True)
class Promised:
    """A new claim."""

    token: Token
    uses: int
    expires_at: datetime
    signalled: Signalled


def promise(folder: FederationFolder, uses: int, valid: timedelta) -> Promised:
    """Make a claim; its secret is in the token and nowhere else.

    Raises:
        ConfigError: too many uses, too long a lifetime, or the folder's settings are wrong.
        StateError: something cannot be read or written.
    """
    if not 1 <= uses <= MOST_USES:
        raise ConfigError(f"--uses {uses}: expected 1 to {MOST_USES}")
    if not timedelta(seconds=1) <= valid <= LONGEST:
        raise ConfigError(f"--valid: expected at most {LONGEST.days} days")
    federation = folder.federation()
    broker = RegistrarSettings.load(folder.registrar_settings).broker
    token = Token(
        federation=federation,
        host=broker.host,
        port=broker.port,
        provisioning_port=broker.provisioning_port,
        claim=f"claim-{secrets.token_hex(4)}",
        secret=new_secret(),
        ca=read(folder.ca).decode("ascii"),
        signing=read(folder.signing_public).decode("ascii"),
        settings=device_settings(folder),
    )
    now = utc_now()
    with Register(folder.register) as register:
        with register.transaction():
            Claims(register).add(token, uses, now.timestamp(), (now + valid).timestamp())
        return Promised(token, uses, now + valid, publish(folder, register))


def withdraw(folder: FederationFolder, claim: str) -> tuple[list[str], Signalled]:
    """Withdraw a claim at once; devices that it enrolled stay.

    Returns:
        The names of the identities that it enrolled, which the operator may want to revoke too.

    Raises:
        ConfigError: no such claim was ever made, or this is no federation's folder.
        StateError: something cannot be read or written.
    """
    folder.federation()  # raises an error if it is not a federation's folder
    with Register(folder.register) as register:
        with register.transaction():
            enrolled = Claims(register).revoke(claim, utc_now().timestamp())
        return enrolled, publish(folder, register)


def read_duration(text: str) -> timedelta:
    """Read `30m`, `1h` or `7d`.

    Raises:
        ConfigError: it is something else.
    """
    match = re.fullmatch(r"(\d{1,6})([mhd])", text.strip())
    if match is None:
        raise ConfigError(f"--valid {text!r}: expected a number and m, h or d, as in 1h")
    return int(match[1]) * _UNITS[match[2]]
