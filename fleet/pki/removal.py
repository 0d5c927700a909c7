"""`fedge forget`: remove what a federation's server still holds of a device, and report what stays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aggregator.aggregation.beginnings import spans
from aggregator.backup.forget import Contribution, contribution
from aggregator.backup.forget import forget as forget_in_ledger
from aggregator.backup.state_dir import load
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.reading import read_only
from aggregator.shell import quarantine as lists
from fedge.identity.provisioning import fits_a_certificate
from fedge.storage.atomic_files import atomic_write, exists, remove
from fedge.wire.freshness import RoundId
from fedge.wire.topics import Topics
from fleet.pki.authority import Authority
from fleet.pki.certificates import utc_now
from fleet.pki.folder import SECRET, FederationFolder, read
from fleet.pki.identity import Identity
from fleet.pki.kick import dismiss
from fleet.pki.publication import Signalled, publish
from fleet.pki.quarantine import quarantine
from fleet.pki.register import Register
from fleet.pki.settings import RegistrarSettings
from fleet.pki.staged_bundles import finish, is_staged


@dataclass(frozen=True)
class Held:
    """What the server holds of a device."""

    device: str
    ledger: Contribution
    enrolled: bool
    """Whether the register knows its name."""
    bundle: Path | None
    staged: bool
    """Whether an interrupted enrolment has left a bundle for it."""
    unwiped: bool
    """Whether an earlier run was interrupted, so that the register's file may still hold removed data."""
    quarantined: bool
    newest: RoundId | None
    """The round of the newest model, in which the device may have a part."""

    @property
    def is_nothing(self) -> bool:
        """Whether the server holds nothing of the device."""
        others = (self.enrolled, self.bundle, self.staged, self.unwiped, self.quarantined)
        return self.ledger.is_nothing and not any(others)

    def removable(self) -> Iterator[str]:
        """What `forget` removes, one sentence each."""
        of = self.ledger
        if of.rounds:
            yield (
                f"its updates of {_rounds(of.rounds)} ({of.size:,} bytes): these rounds cannot be computed "
                "again afterwards"
            )
        if of.open is not None:
            yield f"its answer in round {of.open}, which is open: it does not count there"
        if of.told:
            yield "its status and its counters in the ledger"
        if of.left_out:
            names = ", ".join(map(str, of.left_out))
            yield (
                f"its name in the record that generation {names} began without it, which can still be "
                "computed again"
            )
        if of.named:
            yield f"its name in {_rounds(of.named)}, as a device whose survey was far from the others'"
        if of.unwiped or self.unwiped:
            yield "data that an interrupted run has removed, but that may be left in free pages of a file"
        if self.enrolled:
            yield "its data in the register; it is revoked, and its status at the broker erased"
        if self.bundle is not None:
            yield f"its bundle, {self.bundle}"
        if self.staged:
            yield "a bundle for it that an interrupted `fedge enroll` has left"
        if self.quarantined:
            yield "its entry in the quarantine list"

    def lasting(self) -> Iterator[str]:
        """What stays, one sentence each."""
        if self.newest is not None:
            yield (
                f"its part in models: that of round {self.newest} and others that are kept or exported, and "
                "the devices' copies. It cannot be removed from a mean; `fedge-aggregator new-generation` "
                "begins without it, with --from-round before its first update or with a survey"
            )
        yield "backups of the ledger and of this folder, and logs: delete them yourself"
        yield "the files on the device itself: its data, its key and its models"


def _rounds(rounds: Sequence[RoundId]) -> str:
    found = []
    for generation in sorted({each.generation for each in rounds}):
        numbers = [each.round for each in rounds if each.generation == generation]
        found.append(
            f"{'rounds' if len(numbers) > 1 else 'round'} {spans(numbers)} of generation {generation}"
        )
    return " and ".join(found)


def held(folder: FederationFolder, device: str) -> Held:
    """Find what the server holds of a device; nothing is changed.

    Raises:
        ConfigError: this is no federation's folder.
        StateError: something cannot be read.
    """
    settings = load(folder.settings)
    ledger, newest = Contribution(), None
    path = settings.state.folder / LEDGER
    if exists(path):
        with read_only(path) as reader:
            ledger, life = contribution(reader, device), reader.meta()
            newest = reader.last_closed(life.generation) if life is not None else None
    enrolled, federation = False, folder.federation()
    fits = fits_a_certificate(federation, device)
    if exists(folder.register):
        with Register(folder.register) as register:
            enrolled = fits and register.member(Identity(federation, device)) is not None
    bundle = folder.bundle(device)
    return Held(
        device,
        ledger,
        enrolled,
        bundle if exists(bundle) else None,
        is_staged(folder, device),
        exists(folder.unwiped),
        device in lists.read(settings.federation.quarantine),
        newest,
    )


@dataclass(frozen=True)
class Left:
    """What could not be removed this time."""

    certificates: bool
    """Whether its name and the numbers of its certificates stay, so that these are refused until they end."""
    status: str | None
    """The topic of its status, if that may still be at the broker because none answered here."""


def forget(folder: FederationFolder, device: str) -> Left:
    """Remove what the server holds of a device and exclude it; a second call does no harm.

    Raises:
        Conflict: an aggregator is at work: nothing was changed.
        ConfigError: this is no federation's folder.
        StateError: something cannot be read or written; run it again.
    """
    settings = load(folder.settings)
    forget_in_ledger(settings, device)  # first, because this refuses while an aggregator is at work
    certificates, erased = False, False
    if exists(folder.register) and fits_a_certificate(folder.federation(), device):
        certificates, erased = _forget_identity(folder, Identity(folder.federation(), device))
    remove(folder.bundle(device))
    if exists(settings.federation.quarantine):
        quarantine(folder, [device], lift=True)
    return Left(certificates, None if erased else Topics(folder.federation()).status(device))


def _forget_identity(folder: FederationFolder, identity: Identity) -> tuple[bool, bool]:
    """Revoke and remove it; return whether its certificates must still be refused, and its status is
    erased."""
    registrar = RegistrarSettings.load(folder.registrar_settings)
    authority = Authority.open(read(folder.ca), read(folder.ca_key))
    with Register(folder.register) as register:
        known = register.member(identity) is not None
        if known:
            with register.transaction():
                register.revoke(identity)
        finish(folder, register)  # this removes the bundle of a revoked device
        if not known:
            _wipe(folder, register)
            return False, True
        erased = False
        if publish(folder, register) is Signalled.YES:
            erased = bool(dismiss(folder, register, authority, registrar.broker.port, identity, erase=True))
        # First, so that the next run sees it if this one is interrupted.
        atomic_write(folder.unwiped, b"", mode=SECRET)
        with register.transaction():
            certificates = register.forget(identity, utc_now().timestamp(), erased=erased)
        _wipe(folder, register)
    return certificates, erased


def _wipe(folder: FederationFolder, register: Register) -> None:
    """Write the register's file anew if something was removed since this was last done."""
    if exists(folder.unwiped):
        register.wipe()
        remove(folder.unwiped)
