"""Whose signatures a device believes in an attempt of secure aggregation.

The server names a cohort and brings certificates. A key counts if the federation's authority has signed its
certificate for that device, no revocation list of the owner's names it, and the owner's roster has it.
"""

from datetime import UTC, datetime

from agent.config import AgentSettings
from fedge.errors import ConfigError
from fedge.identity.certified_keys import Authority, serial_of
from fedge.identity.pinned_roster import PinnedRoster, read_roster
from fedge.identity.provisioning import identity
from fedge.masking.messages import Terms
from fedge.masking.refusals import Refusal, Why
from fedge.masking.round_messages import Call


class CohortKeys:
    """Reads the keys of cohorts.

    Args:
        settings: the configuration.

    Raises:
        ConfigError: the roster or the revocation list cannot be read.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self._settings, trust = settings, settings.trust
        self.roster: PinnedRoster | None = None if trust.roster is None else read_roster(trust.roster)
        """The devices that the owner knows; None: all with certificates."""
        if trust.revoked is not None:
            self._authority().revoked(trust.revoked)

    def of(self, terms: Terms, call: Call) -> dict[str, bytes] | Refusal:
        """The public keys of a cohort by device, as compressed points, or why one is not believed."""
        authority, now, keys = self._authority(), datetime.now(UTC), dict[str, bytes]()
        revoked = self._settings.trust.revoked
        try:  # the list is read anew each time: the owner may have brought a newer one
            numbers = frozenset[int]() if revoked is None else authority.revoked(revoked)
        except ConfigError as error:
            return Refusal(Why.BAD_SIGNATURE, f"no certificate is believed: {error}")
        for name, certificate in zip(terms.cohort, call.certificates, strict=True):
            key = authority.key_of(certificate, identity(terms.federation, name), now)
            if isinstance(key, str):
                return Refusal(Why.BAD_SIGNATURE, f"the certificate of {name}: {key}")
            if serial_of(certificate) in numbers:
                return Refusal(Why.STRANGER, f"the certificate of {name} was revoked")
            keys[name] = key
        return self.stranger(keys) or keys

    def stranger(self, keys: dict[str, bytes]) -> Refusal | None:
        """The first of the others that the owner's roster does not have with this key; None: it has all."""
        if self.roster is None:
            return None
        others = sorted(keys.keys() - {self._settings.device})
        texts = (self.roster.objection(device, keys[device]) for device in others)
        return next((Refusal(Why.STRANGER, text) for text in texts if text is not None), None)

    def _authority(self) -> Authority:
        ca = self._settings.broker.ca
        if ca is None:
            raise ConfigError("[broker] ca: is missing; it names the authority that signs certificates")
        return Authority(ca)
