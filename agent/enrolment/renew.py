"""`fedge-agent renew`: get the next certificate while the present one is still valid.

The new key and certificate replace the old ones with one rename. So after an interruption either the old ones
or the new ones are there. The agent reads them at its next connection.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from agent.config import AgentSettings
from agent.enrolment.certificates import Present, belong
from agent.enrolment.exchange import ask
from agent.enrolment.pending import pending
from fedge.errors import ConfigError
from fedge.identity.bundle import broker_url
from fedge.identity.provisioning import Renew, identity, renewal_statement, renewal_user
from fedge.service.settings import BrokerSettings
from fedge.storage.atomic_files import atomic_write
from fedge.storage.files import describe_file
from fedge.wire.topics import Topics

PENDING = "renewing"
"""The folder of an unfinished renewal, beside the identity."""
THIRD = 3
"""A certificate is renewed when less than 1 / `THIRD` of its lifetime is left. So a device that was off for
months can still connect."""


@dataclass(frozen=True)
class Renewed:
    """The result of a renewal."""

    identity: Path
    not_after: datetime
    """The end of the present certificate's validity."""
    done: bool
    """Whether it was renewed; False: it was not due."""


def renew(
    settings: AgentSettings,
    now: datetime,
    *,
    before: timedelta | None = None,
    force: bool = False,
    wait_s: float = 60.0,
) -> Renewed:
    """Renew the certificate if it is due.

    Args:
        settings: the device's settings.
        now: the present time, with a zone.
        before: renew if less than this time is left; None: a third of the lifetime.
        force: whether to renew in any case.
        wait_s: how long to wait for the answer, in seconds.

    Raises:
        ConfigError: there is no certificate to renew, or the registrar refuses.
        Unanswered: no answer came within `wait_s`.
        StateError: the folder cannot be written. The old certificate stays.
    """
    path, ca = _files(settings)
    present = Present.read(path)
    margin = present.life / THIRD if before is None else before
    if not force and present.not_after - now >= margin:
        return Renewed(path, present.not_after, done=False)
    federation, device = settings.federation, settings.device
    name = identity(federation, device)
    broker = BrokerSettings(
        url=broker_url(settings.broker.host, settings.renewal.port),
        ca=ca,
        username=renewal_user(federation, device),
        password_file=settings.renewal.password_file,
    )
    with pending(path.parent / PENDING) as work:
        asked = work.key_and_request(name)
        if belong(asked.key, present.certificate):  # the identity was replaced, and then the power failed
            work.finish()
            return Renewed(path, present.not_after, done=True)
        request = Renew(
            csr=asked.csr,
            certificate=present.der,
            signature=present.sign(renewal_statement(federation, device, asked.csr)),
        )
        certificate = ask(broker, Topics(federation), device, request, wait_s)
        _replace(path, asked.identity(certificate, ca.read_bytes(), name))
        work.finish()
    return Renewed(path, Present.read(path).not_after, done=True)


def _files(settings: AgentSettings) -> tuple[Path, Path]:
    """Return the paths of the identity and of the authority's certificate."""
    broker = settings.broker
    if broker.certificate is None or broker.ca is None:
        raise ConfigError("[broker] certificate and ca: are not set, so there is nothing to renew")
    if broker.certificate != broker.key:
        raise ConfigError(
            "[broker] certificate and key: name two files, which cannot be replaced at once; put the key, "
            "followed by its certificate, into one file, and set both to it"
        )
    return broker.certificate, broker.ca


def _replace(path: Path, pem: bytes) -> None:
    """Put the new identity in place, with the owner and permissions of the old one."""
    was = describe_file(path)
    atomic_write(path, pem, mode=0o600, owner=(was.st_uid, was.st_gid))
