"""The files of a new device, made before the register and the broker know it: key, certificate, bundle."""

import hashlib
import secrets
from dataclasses import dataclass

from fedge.identity.provisioning import SALT_BYTES, Verifier
from fleet.pki.authority import Authority
from fleet.pki.bundle import Common
from fleet.pki.certificates import Issued, utc_now
from fleet.pki.folder import FederationFolder, read
from fleet.pki.identity import Identity
from fleet.pki.keys import make_key, public_key
from fleet.pki.register import Register
from fleet.pki.requests import Request
from fleet.pki.settings import RegistrarSettings


@dataclass(frozen=True)
class Made:
    """The files of one device; its certificate is not valid before the register has it."""

    identity: Identity
    issued: Issued
    renewal: Verifier
    request: bytes | None
    """SHA-256 of the request that its certificate answers; None if it did not make its key itself."""
    bundle: bytes

    @property
    def device(self) -> str:
        """Its id."""
        return str(self.identity.device)

    def note(self, register: Register) -> None:
        """Store it in the register, in the caller's transaction, and revoke its older certificates."""
        register.revoke_certificates(self.identity)
        register.enrol(self.identity, renewal=self.renewal)
        register.add_certificate(self.identity, self.issued, self.request)


class Maker:
    """Makes devices of one federation; reads the folder once.

    Raises:
        ConfigError: the folder's settings are wrong.
        StateError: a file of the folder cannot be read.
    """

    def __init__(self, folder: FederationFolder) -> None:
        settings = RegistrarSettings.load(folder.registrar_settings)
        self.port = settings.broker.port
        self.authority = Authority.open(read(folder.ca), read(folder.ca_key))
        self._days = settings.certificates.device_days
        self._common = Common.read(folder, settings)

    def make(self, identity: Identity, wanted: Request | None = None) -> Made:
        """A device's certificate and bundle, with a new key, or for the key of a request.

        Raises:
            ConfigError: its name is too long for a certificate.
        """
        key = None if wanted is not None else make_key()
        public = wanted.key if wanted is not None else public_key(key or b"")
        issued = self.authority.issue_client(identity.name, public, self._days, utc_now())
        password = secrets.token_urlsafe(32)
        return Made(
            identity=identity,
            issued=issued,
            renewal=Verifier.of(password, secrets.token_bytes(SALT_BYTES)),
            request=None if wanted is None else hashlib.sha256(wanted.der).digest(),
            bundle=self._common.bundle(
                str(identity.device),
                password=password,
                identity=key + issued.pem if key is not None else None,
                certificate=issued.pem if key is None else None,
            ),
        )
