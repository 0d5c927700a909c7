"""The registrar: it looks up a request's facts, decides, stores the result, tells the broker, and answers.

Because of this order the certificate is valid, its use is counted, and its owner may connect when the answer
arrives.
"""

import hmac
import logging
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from aggregator.shell.reports import Reports
from fedge.errors import ConfigError, ProtocolError
from fedge.identity.provisioning import (
    Enrol,
    Issued,
    Renew,
    Verifier,
    digest,
    enrolment_proof,
    fits_a_certificate,
    identity,
    may_name_a_device,
    renewal_statement,
)
from fedge.wire.messages.message import unpack
from fleet.pki.authority import Authority
from fleet.pki.claims import Claims
from fleet.pki.decision import (
    Decision,
    EnrolmentFacts,
    GiveAgain,
    Given,
    Refuse,
    RenewalFacts,
    Shown,
    Sign,
    on_enrolment,
    on_renewal,
)
from fleet.pki.folder import FederationFolder, read
from fleet.pki.identity import Identity
from fleet.pki.proof_of_possession import ShownCertificate
from fleet.pki.publication import publish
from fleet.pki.register import Register
from fleet.pki.requests import Request as Wanted
from fleet.pki.requests import read_request
from fleet.pki.settings import RegistrarSettings

log = logging.getLogger("fedge.registrar")

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Petition:
    """A request; the topic names the requester, and the broker lets nobody else publish there."""

    federation: str
    petitioner: str
    """The claim's name or the device's id."""
    payload: bytes


@dataclass(frozen=True)
class Reply:
    """An answer and its receiver."""

    petition: Petition
    answer: Issued


class Registrar:
    """Handles requests in turns: all requests of a turn in one transaction, with one signal to the broker.

    Args:
        folder: the federation's folder, with the authority's key.
        register: the open register.

    Raises:
        ConfigError: the authority's files are wrong.
        StateError: something cannot be read or written; nothing was answered, and devices will ask again.
    """

    def __init__(self, folder: FederationFolder, register: Register) -> None:
        self._folder = folder
        self._register = register
        self._claims = Claims(register)
        self._reports = Reports(log)
        self._authority = Authority.open(read(folder.ca), read(folder.ca_key))
        self._days = RegistrarSettings.load(folder.registrar_settings).certificates.device_days
        self._published_claims: frozenset[str] | None = None
        """The claims whose users the broker knows; None: it has not been told yet."""
        self._published_version = self._seen_version = register.version()

    def turn(self, petitions: Iterable[Petition], now: datetime) -> list[Reply]:
        """Decide requests; the returned answers may be sent."""
        replies = []
        with self._register.transaction():
            for petition in petitions:
                answer = self._judge(petition, now)
                if answer is not None:
                    replies.append(Reply(petition, answer))
        self.tell_broker(now)
        return replies

    def tell_broker(self, now: datetime) -> None:
        """Publish the register if it has changed, or a claim has ended.

        A process that changes the register also publishes it. So a change by another process is published
        here only when it is seen for the second time: by then that process is done, or was interrupted.
        """
        self._reports.sum_up(now.timestamp())
        claims = frozenset(kept.claim.name for kept in self._claims.open(now.timestamp()))
        version = self._register.version()
        changed_by_others = version == self._seen_version != self._published_version
        self._seen_version = version
        if claims != self._published_claims or changed_by_others:
            publish(self._folder, self._register)
            self._published_claims, self._published_version = claims, version

    def _judge(self, petition: Petition, now: datetime) -> Issued | None:
        """The answer; None for a message that is no valid request."""
        try:
            if may_name_a_device(petition.petitioner):
                return self._renew(petition, unpack(petition.payload, Renew), now)
            return self._enrol(petition, unpack(petition.payload, Enrol), now)
        except ProtocolError as error:
            text = f"{petition.petitioner} of {petition.federation} sends no valid request: {error}"
            self._reports.tell(logging.WARNING, _who(petition), "no request", text, now.timestamp())
            return None

    def _enrol(self, petition: Petition, request: Enrol, now: datetime) -> Issued:
        federation, device, claim = petition.federation, request.device, petition.petitioner
        allowed = may_name_a_device(device) and fits_a_certificate(federation, device)
        wanted, fault = _read(request.csr, identity(federation, device))
        kept = self._claims.find(claim)
        member = self._register.member(Identity(federation, device)) if allowed else None
        proof = enrolment_proof(
            kept.proof_key if kept else bytes(32), federation, device, request.csr, request.renewal
        )
        facts = EnrolmentFacts(
            federation=federation,
            device=device,
            allowed=allowed,
            request_fault=fault,
            claim=kept.claim if kept else None,
            proven=hmac.compare_digest(proof, request.proof),
            given=self._given(request.csr),
            known=member is not None,
            revoked=member is not None and member.revoked_at is not None,
        )
        decision = on_enrolment(facts, now.timestamp())
        answer = self._carry_out(decision, request.csr, wanted, now, renewal=request.renewal)
        if isinstance(decision, Sign):
            self._claims.count_use(claim, decision.identity)
            self._published_claims = None
        self._tell(petition, decision, f"{device} of {federation}", f"enrolled with {claim}", now)
        return answer

    def _renew(self, petition: Petition, request: Renew, now: datetime) -> Issued:
        federation, device = petition.federation, petition.petitioner
        if not fits_a_certificate(federation, device):
            raise ProtocolError("its name is too long for a certificate, so there is none to renew")
        wanted, fault = _read(request.csr, identity(federation, device))
        shown = ShownCertificate.read(request.certificate)
        known = self._register.certificate(shown.serial)
        member = self._register.member(Identity(federation, device))
        facts = RenewalFacts(
            federation=federation,
            device=device,
            request_fault=fault,
            counts=member is not None and member.revoked_at is None,
            shown=Shown(known.identity.name, known.not_after.timestamp(), known.revoked)
            if known is not None and shown.is_same(known.pem)
            else None,
            proven=shown.signed(renewal_statement(federation, device, request.csr), request.signature),
            given=self._given(request.csr),
            lately=self._register.count_issued(Identity(federation, device), now - DAY),
        )
        decision = on_renewal(facts, now.timestamp())
        answer = self._carry_out(decision, request.csr, wanted, now)
        self._tell(petition, decision, f"{device} of {federation}", "renewed", now)
        return answer

    def _tell(self, petition: Petition, decision: Decision, whose: str, done: str, now: datetime) -> None:
        """Log the decision; refusals only once for each requester, because a client can cause many."""
        asks, now_s = _who(petition), now.timestamp()
        match decision:
            case Sign():
                log.info("%s: %s", whose, done)
                self._reports.renew(asks)
            case GiveAgain():
                text = f"{whose}: repeated its request and gets the same answer"
                self._reports.tell(logging.INFO, asks, "asked again", text, now_s)
            case Refuse(reason, detail):
                text = f"{whose}: refused ({reason}): {detail}"
                self._reports.tell(logging.WARNING, asks, reason, text, now_s)

    def _given(self, csr: bytes) -> Given | None:
        answered = self._register.answered(digest(csr))
        return None if answered is None else Given(answered[0].name, answered[1])

    def _carry_out(
        self,
        decision: Decision,
        csr: bytes,
        wanted: Wanted | None,
        now: datetime,
        renewal: Verifier | None = None,
    ) -> Issued:
        match decision:
            case Refuse(reason, detail):
                return Issued(csr=digest(csr), refused=reason, detail=detail)
            case GiveAgain(pem):
                return Issued(csr=digest(csr), certificate=ssl.PEM_cert_to_DER_cert(pem.decode("ascii")))
            case Sign(name):
                member = Identity.parse(name)
                assert wanted is not None  # there is no fault
                assert member is not None
                issued = self._authority.issue_client(name, wanted.key, self._days, now)
                if renewal is not None:
                    self._register.enrol(member, renewal=renewal)
                self._register.add_certificate(member, issued, digest(csr))
                return Issued(
                    csr=digest(csr), certificate=ssl.PEM_cert_to_DER_cert(issued.pem.decode("ascii"))
                )


def _read(csr: bytes, name: str) -> tuple[Wanted | None, str | None]:
    """The request, or its error."""
    try:
        wanted = read_request(csr)
    except ConfigError as error:
        return None, str(error)
    if wanted.common_name != name:
        return None, f"the request names {wanted.common_name[:100]!r}, expected {name!r}"
    return wanted, None


def _who(petition: Petition) -> str:
    """The requester for the log: the one that the topic names, not one that the request names."""
    return f"{petition.petitioner} of {petition.federation}"
