"""`fedge roster`: a line for each key with which a device of this federation may take part now.

It is as trustworthy as the register. Devices that pin it need not trust what is enrolled later.
"""

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from fedge.errors import DamagedState
from fedge.identity.pinned_roster import line_of
from fleet.pki.certificates import UNREADABLE, utc_now
from fleet.pki.folder import FederationFolder
from fleet.pki.identity import Identity
from fleet.pki.register import Register

_VALID = (
    "SELECT identity, pem FROM certificates JOIN identities ON identity = name WHERE federation = ?"
    " AND certificates.revoked_at IS NULL AND identities.revoked_at IS NULL AND not_after > ?"
    " ORDER BY identity, not_before"
)


def lines(folder: FederationFolder) -> list[str]:
    """The lines of all devices whose certificates are valid, by name; a renewed device may have two.

    Raises:
        ConfigError: this is no federation's folder.
        StateError: the register cannot be read.
    """
    with Register(folder.register) as register:
        rows = register.run(_VALID, folder.federation(), utc_now().timestamp())
    found = list[str]()
    for name, pem in rows:
        identity = Identity.parse(name)
        if identity is not None and identity.device is not None:
            found.append(line_of(identity.device, _key_of(name, bytes(pem))))
    return list(dict.fromkeys(found))


def _key_of(name: str, pem: bytes) -> bytes:
    form = serialization.PublicFormat.CompressedPoint
    try:
        key = x509.load_pem_x509_certificate(pem).public_key()
        return key.public_bytes(serialization.Encoding.X962, form)
    except UNREADABLE as error:
        raise DamagedState(
            f"the register holds a certificate of {name} that cannot be read: {error}"
        ) from None
