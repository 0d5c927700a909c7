"""A registrar with its register and its files, without a broker, and requests to it."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agent.enrolment.certificates import KeyAndRequest, Present
from fedge.identity.provisioning import (
    SALT_BYTES,
    Enrol,
    Issued,
    Renew,
    Verifier,
    enrolment_proof,
    identity,
    renewal_statement,
)
from fedge.identity.token import Token
from fedge.wire.messages.message import pack
from fleet.pki.certificates import utc_now
from fleet.pki.claims import Claims
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.register import Register
from fleet.pki.registrar import Petition, Registrar
from fleet.pki.tokens import promise

NOW = utc_now()
HOUR = timedelta(hours=1)
RENEWAL = Verifier.of("secret", bytes(SALT_BYTES))


class Place:
    """A federation's folder, and its registrar."""

    def __init__(self, root: Path) -> None:
        self.folder = FederationFolder(root / "greenhouse")
        found(self.folder, Founding("greenhouse", ["broker.example"]))
        self.register = Register(self.folder.register)
        self.registrar = Registrar(self.folder, self.register)

    def restart(self) -> None:
        self.register.close()
        self.register = Register(self.folder.register)
        self.registrar = Registrar(self.folder, self.register)

    def token(self, uses: int = 1) -> Token:
        return promise(self.folder, uses, HOUR).token

    def ask(self, petitioner: str, *messages: Enrol | Renew, now: datetime = NOW) -> list[Issued]:
        petitions = [Petition("greenhouse", petitioner, pack(message)) for message in messages]
        return [reply.answer for reply in self.registrar.turn(petitions, now)]

    def used(self, token: Token) -> int:
        kept = Claims(self.register).find(token.claim)
        assert kept is not None
        return kept.claim.used


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def enrol(token: Token, device: str, begun: KeyAndRequest | None = None) -> Enrol:
    csr = (begun or KeyAndRequest.make(identity("greenhouse", device))).csr
    proof = enrolment_proof(token.proof_key, "greenhouse", device, csr, RENEWAL)
    return Enrol(device=device, csr=csr, renewal=RENEWAL, proof=proof)


def present(place: Place, begun: KeyAndRequest, answer: Issued, device: str, path: Path) -> Present:
    assert answer.certificate is not None
    path.write_bytes(
        begun.identity(answer.certificate, place.folder.ca.read_bytes(), identity("greenhouse", device))
    )
    return Present.read(path)


def renew(has: Present, device: str, begun: KeyAndRequest | None = None) -> Renew:
    csr = (begun or KeyAndRequest.make(identity("greenhouse", device))).csr
    signature = has.sign(renewal_statement("greenhouse", device, csr))
    return Renew(csr=csr, certificate=has.der, signature=signature)


def joined(place: Place, device: str, tmp_path: Path) -> Present:
    token, begun = place.token(), KeyAndRequest.make(identity("greenhouse", device))
    (answer,) = place.ask(token.claim, enrol(token, device, begun))
    return present(place, begun, answer, device, tmp_path / f"{device}.pem")
