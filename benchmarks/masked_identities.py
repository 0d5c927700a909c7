"""The identities of a cohort: keys of certificates that one authority has signed, as by `fedge enroll`."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import process_time

from fedge.identity import certified_keys
from fedge.identity.certified_keys import Authority, OwnKey, read_own, verifier
from fedge.identity.provisioning import identity
from fedge.masking.device_state import Identity
from fleet.pki.authority import Authority as Issuer
from fleet.pki.keys import make_key, public_key

DAYS = 10


class Certified:
    """What signs and verifies for each device of a federation.

    Args:
        federation: its name.
        names: of the devices.
    """

    def __init__(self, federation: str, names: tuple[str, ...]) -> None:
        now = datetime.now(UTC)
        issuer = Issuer.found("authority", make_key(), DAYS, now)
        self._federation, self._own = federation, dict[str, OwnKey]()
        with tempfile.TemporaryDirectory() as folder:
            ca, file = Path(folder) / "ca.pem", Path(folder) / "identity.pem"
            ca.write_bytes(issuer.pem)
            self._authority = Authority(ca)
            for name in names:
                key, client = make_key(), identity(federation, name)
                file.write_bytes(key + issuer.issue_client(client, public_key(key), DAYS, now).pem)
                self._own[name] = read_own(file, file)
        self.certificates = tuple(self._own[name].certificate for name in names)
        """In DER, in the order of the names."""
        self._keys = self.checked()

    def __call__(self, name: str) -> Identity:
        """The identity of a device."""
        return Identity(self._own[name].sign, verifier(self._keys))

    def checked(self) -> dict[str, bytes]:
        """The keys of all certificates, as a device finds them when it is called."""
        now, found = datetime.now(UTC), dict[str, bytes]()
        for name, own in self._own.items():
            key = self._authority.key_of(own.certificate, identity(self._federation, name), now)
            assert isinstance(key, bytes), key
            found[name] = key
        return found

    def first_check_s(self) -> float:
        """The CPU of checking all certificates and reading all keys, which a device does once for each."""
        certified_keys.forget()
        began_s = process_time()
        for name, key in self.checked().items():
            certified_keys.verify(key, name.encode(), bytes(2 * certified_keys.HALF))
        return process_time() - began_s
