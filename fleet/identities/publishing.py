"""Tell the broker who belongs to it: `acl`, `passwords` and `crl.pem` from the register, and a signal.

The access list is first: a block that is gone stops even a live connection, while the list of revoked
certificates only refuses new ones.
"""

import os
import signal
import time
from enum import Enum
from pathlib import Path

from fedge.errors import StateError
from fedge.files import read_file
from fedge.provisioning import claim_user, renewal_user
from fedge.store import atomic_write
from fleet.identities.acl import Petitioner, acl_text
from fleet.identities.authority import Authority, utc_now
from fleet.identities.claims import Claims
from fleet.identities.folder import SHARED, FederationFolder, read
from fleet.identities.identity import Identity
from fleet.identities.passwords import password_file
from fleet.identities.register import Register

READING_S = 1.0
"""The longest that a broker which never rests is waited for before it is signalled."""
STARTING_S = 10.0
"""How long a broker that is starting is waited for; with a large memory to read it may take long."""


class Signalled(Enum):
    """What became of the signal to the broker."""

    YES = "the broker reads it now"
    NOT_RUNNING = "the broker does not run; it reads it when it starts"
    NOT_ALLOWED = (
        "the broker was not signalled, because this user may not; the system does it where "
        "fedge-broker-reload.path is installed, else run as root: systemctl reload mosquitto"
    )


def publish(folder: FederationFolder, register: Register, *, farewell: Identity | None = None) -> Signalled:
    """Write what the register says, signal the broker, write the CRL, signal again.

    Args:
        folder: the federation's.
        register: who belongs to it.
        farewell: a device that belongs no longer, but for this once may replace its status.

    Raises:
        StateError: a file cannot be written or read.
    """
    authority = Authority.open(read(folder.broker_ca), read(folder.ca_key))
    with register.transaction():  # whoever else changes the register publishes after us, not between
        members = [member for member in register.members() if member.revoked_at is None]
        users = {
            renewal_user(identity.federation, str(identity.device)): (identity, member.renewal)
            for member in members
            if (identity := member.identity).device and member.renewal is not None
        }
        petitioners = [
            Petitioner(identity.federation, username, str(identity.device))
            for username, (identity, _) in users.items()
        ]
        verifiers = {username: verifier for username, (_, verifier) in users.items()}
        for kept in Claims(register).open(utc_now().timestamp()):
            claim = kept.claim
            username = claim_user(claim.federation, claim.name)
            petitioners.append(Petitioner(claim.federation, username, claim.name))
            verifiers[username] = kept.password
        _write(folder.acl, acl_text([member.identity for member in members], petitioners, farewell).encode())
        _write(folder.passwords, password_file(verifiers).encode())
        signal_broker(folder.broker_pid)
        _write(folder.crl, authority.revocation_list(register.revoked(), utc_now()))
        return signal_broker(folder.broker_pid)


def signal_broker(pid_file: Path) -> Signalled:
    """Send SIGHUP to the Mosquitto whose process id is in the file: it reads its files again.

    Raises:
        StateError: the file is there and cannot be read as a number.
    """
    try:
        pid = int(read_file(pid_file, 32))
        command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        if "mosquitto" not in {Path(word).name for word in command}:
            return Signalled.NOT_RUNNING  # the number is somebody else's by now
        _wait_until_it_hears(pid)
        _wait_until_it_rests(pid)
        os.kill(pid, signal.SIGHUP)
    except (FileNotFoundError, ProcessLookupError):
        return Signalled.NOT_RUNNING
    except PermissionError:
        return Signalled.NOT_ALLOWED
    except ValueError:
        raise StateError(f"{pid_file}: cannot be read as a process id: it holds no number") from None
    except OSError as error:
        raise StateError(f"{pid_file}: cannot be read as a process id: {error.strerror}") from None
    return Signalled.YES


def _wait_until_it_hears(pid: int) -> None:
    """Return when the process catches SIGHUP: one that comes while Mosquitto still starts would end it.

    Raises:
        ProcessLookupError: it does not in `STARTING_S`, or has ended.
    """
    deadline_s = time.monotonic() + STARTING_S
    while time.monotonic() < deadline_s:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
        caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
        if int(caught, 16) >> (signal.SIGHUP - 1) & 1:
            return
        time.sleep(0.01)
    raise ProcessLookupError


def _wait_until_it_rests(pid: int) -> None:
    """Return when the process waits for something to do: a signal that comes while it reads is forgotten.

    Mosquitto notes a signal in a flag, and takes that back when it has read all its files. With a thousand
    devices one of four signals was lost that came within 25 ms of another.
    """
    deadline_s = time.monotonic() + READING_S
    stat = Path(f"/proc/{pid}/stat")
    while time.monotonic() < deadline_s:
        if stat.read_text(errors="replace").rpartition(")")[2].split()[0] == "S":
            return
        time.sleep(0.001)


def _write(path: Path, data: bytes) -> None:
    """Replace a file that the broker's group reads (the folder hands its group on)."""
    atomic_write(path, data, mode=SHARED, exact=True)
