"""What a request proves, and who may be called what."""

import doctest

import pytest

from fedge.identity import provisioning
from fedge.identity.provisioning import Verifier, enrolment_proof, may_name_a_device, renewal_statement


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(provisioning) == (0, 4)


def test_a_proof_covers_all_that_is_asked() -> None:
    renewal, other = Verifier.of("a", b"s" * 12), Verifier.of("b", b"s" * 12)
    key = bytes(range(32))
    proofs = {
        enrolment_proof(key, "f", "pi-1", b"csr", renewal),
        enrolment_proof(key[::-1], "f", "pi-1", b"csr", renewal),
        enrolment_proof(key, "g", "pi-1", b"csr", renewal),
        enrolment_proof(key, "f", "pi-2", b"csr", renewal),
        enrolment_proof(key, "f", "pi-1", b"another", renewal),
        enrolment_proof(key, "f", "pi-1", b"csr", other),
    }
    assert len(proofs) == 6
    statements = {
        renewal_statement("f", "pi-1", b"csr"),
        renewal_statement("g", "pi-1", b"csr"),
        renewal_statement("f", "pi-2", b"csr"),
        renewal_statement("f", "pi-1", b"another"),
    }
    assert len(statements) == 4


@pytest.mark.parametrize("name", ["claim-0a1b2c3d", "Pi", "a/b", "a_b", "", "pi\n", "a" * 37])
def test_what_no_device_may_be_called(name: str) -> None:
    assert not may_name_a_device(name)


def test_what_a_device_may_be_called() -> None:
    assert all(map(may_name_a_device, ("pi-1", "claim", "claim-0", "claim-0a1b2c3d4", "a" * 36)))
