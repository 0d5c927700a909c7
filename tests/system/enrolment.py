"""What tests of enrolment share: devices that join, renew and ask, and whether they are let in."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.config import AgentSettings
from agent.enrolment.certificates import KeyAndRequest
from agent.enrolment.join import join_with_bundle, join_with_token
from agent.enrolment.renew import renew
from fedge.errors import FedgeError
from fedge.identity.provisioning import (
    SALT_BYTES,
    Enrol,
    Issued,
    Verifier,
    digest,
    enrolment_proof,
    identity,
)
from fedge.identity.token import Token
from fedge.wire.messages.message import pack, unpack
from fedge.wire.topics import Topics
from fleet.pki.enrolment import enroll
from tests.system.probes import Member, Refused, tls
from tests.system.production import Production

HOUR = timedelta(hours=1)
WAIT_S, SHORT_S = 90.0, 3.0


def renew_now(home: Path, **environment: str) -> None:
    """Renew the identity in a device's folder, due or not."""
    settings = AgentSettings.load(home / "agent.toml", environment)
    renew(settings, datetime.now(UTC), force=True, wait_s=SHORT_S if environment else WAIT_S)


def enrolled(place: Production, device: str, home: Path) -> Path:
    """A device with the bundle that somebody made for it."""
    join_with_bundle(enroll(place.folder, device).bundle, home)
    return home


def is_let_in(place: Production, home: Path) -> bool:
    try:
        Member(place.port, tls(place.folder.ca, home / "identity.pem")).open().close()
    except Refused:
        return False
    return True


def is_shut_out(place: Production, home: Path) -> bool:
    """Soon, when the broker has heard the signal."""
    deadline_s = time.monotonic() + WAIT_S
    while is_let_in(place, home):
        if time.monotonic() > deadline_s:
            return False
    return True


def join(token: Token, device: str, folder: Path) -> str:
    """What became of it: `joined`, or why not."""
    try:
        join_with_token(token, device, folder / device, wait_s=WAIT_S)
    except FedgeError as error:
        return str(error)
    return "joined"


@dataclass(frozen=True)
class Asked:
    """A request, as somebody would make it who does not use our program."""

    device: str
    csr: bytes
    password: str = "secret"
    proof_key: bytes | None = None

    @classmethod
    def of(cls, device: str, common_name: str | None = None) -> "Asked":
        return cls(device, KeyAndRequest.make(common_name or identity("greenhouse", device)).csr)

    def message(self, token: Token) -> bytes:
        renewal = Verifier.of(self.password, bytes(SALT_BYTES))
        key = self.proof_key or token.proof_key
        proof = enrolment_proof(key, token.federation, self.device, self.csr, renewal)
        return pack(Enrol(device=self.device, csr=self.csr, renewal=renewal, proof=proof))


def ask(place: Production, token: Token, *asked: Asked) -> list[Issued]:
    """Send all requests in one breath; the answers, in the order of the requests."""
    topics = Topics(token.federation)
    member = Member(place.provisioning_port, tls(place.folder.ca), token.user, token.password).open()
    member.subscribe([topics.provision(token.claim, "answer")])
    for each in asked:
        member.client.publish(topics.provision(token.claim, "request"), each.message(token), qos=1)
    member.wait_until(lambda: len(member.heard) == len(asked))
    member.close()
    answers = {answer.csr: answer for answer in (unpack(payload, Issued) for _, _, payload in member.heard)}
    return [answers[digest(each.csr)] for each in asked]
