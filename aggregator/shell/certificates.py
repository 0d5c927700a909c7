"""The certificates with which devices take part in masked rounds."""

from datetime import UTC, datetime

from aggregator.config import FederationSettings
from fedge.identity.certified_keys import Authority
from fedge.identity.provisioning import identity
from fedge.wire.reasons import Reason, Rejection


class Certificates:
    """Checks the certificates of a federation's devices.

    Args:
        federation: its name.
        authority: who has signed them; None: no round is masked, and no certificate is accepted.
    """

    def __init__(self, federation: str, authority: Authority | None) -> None:
        self._federation, self._authority = federation, authority

    def key_of(self, device: str, certificate: bytes, *, now: bool = True) -> bytes | Rejection:
        """The public key of a device's certificate, or why it is not accepted.

        Args:
            device: the device's id.
            certificate: in DER.
            now: whether it must be valid now. It was when the device promised an update.
        """
        if self._authority is None:
            return Rejection(Reason.UNSUPPORTED, "no round of this federation is masked")
        found = self._authority.key_of(
            certificate, identity(self._federation, device), datetime.now(UTC) if now else None
        )
        return Rejection(Reason.BAD_SIGNATURE, found) if isinstance(found, str) else found


def certificates_of(settings: FederationSettings) -> Certificates:
    """The certificates of the federation of these settings.

    Raises:
        ConfigError: masking is on, and the authority's certificate cannot be read.
    """
    ca = settings.broker.ca
    masked = settings.masking.on and ca is not None
    return Certificates(settings.federation.name, Authority(ca) if masked and ca is not None else None)
