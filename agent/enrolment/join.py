"""`fedge-agent join`: get an identity with a token, a bundle, or a request that is brought to the server."""

import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path

from agent.enrolment.certificates import KeyAndRequest
from agent.enrolment.exchange import ask
from agent.enrolment.pending import Pending, pending
from fedge.errors import ConfigError, StateError
from fedge.identity import bundle
from fedge.identity.device_names import as_id
from fedge.identity.provisioning import (
    MAX_COMMON_NAME,
    SALT_BYTES,
    Enrol,
    Verifier,
    enrolment_proof,
    fits_a_certificate,
    identity,
    may_name_a_device,
)
from fedge.identity.token import Token
from fedge.service.settings import BrokerSettings
from fedge.storage.atomic_files import atomic_write, make_folder
from fedge.wire.topics import Topics

PENDING = "joining"
"""The folder of unfinished requests, inside the device's folder."""


def join_with_token(token: Token, device: str, folder: Path, *, wait_s: float) -> list[Path]:
    """Ask for a certificate with a token, and write the device's folder.

    Returns:
        The files that were written.

    Raises:
        ConfigError: the name is not allowed, the folder belongs to another device, or the registrar refuses.
        Unanswered: no answer came within `wait_s`.
        StateError: the folder cannot be used.
    """
    _check_name(device)
    name = identity(token.federation, device)
    if not fits_a_certificate(token.federation, device):
        raise ConfigError(
            f"{name!r}: has {len(name)} characters, but a certificate's common name has at most "
            f"{MAX_COMMON_NAME}; choose a name of at most {MAX_COMMON_NAME - len(token.federation) - 1} "
            "characters for this device"
        )
    make_folder(folder, mode=0o755)
    _check_free(folder, name)
    with pending(folder / PENDING) as work:
        asked = work.key_and_request(name)
        password = work.password(bundle.RENEWAL)
        renewal = Verifier.of(password, secrets.token_bytes(SALT_BYTES))
        proof = enrolment_proof(token.proof_key, token.federation, device, asked.csr, renewal)
        broker = BrokerSettings(
            url=bundle.broker_url(token.host, token.provisioning_port),
            ca=work.write(bundle.CA, token.ca),
            username=token.user,
            password_file=work.write("claim.password", f"{token.password}\n"),
        )
        request = Enrol(device=device, csr=asked.csr, renewal=renewal, proof=proof)
        certificate = ask(broker, Topics(token.federation), token.claim, request, wait_s)
        files = {
            bundle.AGENT: bundle.agent_toml(
                token.federation, device, token.host, token.port, token.provisioning_port, token.settings
            ).encode(),
            bundle.CA: token.ca.encode(),
            bundle.SIGNING: token.signing.encode(),
            bundle.RENEWAL: f"{password}\n".encode(),
            bundle.IDENTITY: asked.identity(certificate, token.ca.encode(), name),
        }
        written = place(files, folder)
        work.finish()
    return written


def begin_request(device: str, folder: Path) -> Path:
    """Make a key, and write the request for its certificate to a file. A second call writes the same request.

    Returns:
        The file with the request.

    Raises:
        ConfigError: the name is not allowed, or the device has an identity already.
        StateError: the folder cannot be used.
    """
    _check_name(device)
    make_folder(folder, mode=0o755)
    _check_free(folder, None)
    with pending(folder / PENDING) as work:
        path = folder / f"{device}.csr"
        atomic_write(path, work.key_and_request(device).csr_pem)
    return path


def join_with_bundle(path: Path, folder: Path) -> list[Path]:
    """Write the device's folder from a bundle of `fedge enroll`.

    If the bundle answers a request, the key that was made for the request is added here. An existing
    `agent.toml` stays, because its owner may have edited it.

    Returns:
        The files that were written.

    Raises:
        ConfigError: the file is not a bundle, belongs to another device, or answers another request.
        StateError: the folder cannot be used.
    """
    try:
        files = bundle.unpack(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    name = _named(files[bundle.AGENT], path)
    make_folder(folder, mode=0o755)
    _check_same(folder, name)
    if bundle.CERTIFICATE not in files:
        return place(files, folder)
    with pending(folder / PENDING) as work:
        certificate = files.pop(bundle.CERTIFICATE)
        files[bundle.IDENTITY] = _begun(work, folder).identity(certificate, files[bundle.CA], name)
        written = place(files, folder)
        work.finish()
    return written


def place(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write a bundle's files, the identity last. So if the identity is there, all other files are there too.

    Returns:
        The files that were written.

    Raises:
        StateError: the folder cannot be used.
    """
    written = []
    for name in sorted(files, key=lambda name: (name == bundle.IDENTITY, name)):
        path = folder / name
        if name == bundle.AGENT and path.exists():
            continue
        atomic_write(path, files[name], mode=0o600 if name in bundle.SECRETS else 0o644)
        written.append(path)
    return written


def _begun(work: Pending, folder: Path) -> KeyAndRequest:
    begun = work.begun()
    if begun is None:
        raise ConfigError(
            f"{folder}: this bundle answers a request, but there is no request in this folder; "
            "set --folder to the folder in which `fedge-agent join --request` was run"
        )
    return begun


def _check_name(device: str) -> None:
    if not may_name_a_device(device):
        raise ConfigError(
            f"device {device!r}: expected 1 to 36 of a-z, 0-9 and '-', not beginning with '-', and not like "
            "a claim (claim-xxxxxxxx)"
        )


def _check_free(folder: Path, name: str | None) -> None:
    path = folder / bundle.IDENTITY
    if path.exists():
        raise ConfigError(
            f"{path}: there is an identity already; `fedge-agent renew` renews it; for another identity, "
            "choose another folder or move this file away"
        )
    _check_same(folder, name)


def _check_same(folder: Path, name: str | None) -> None:
    """Refuse to put a device into the folder of another."""
    path = folder / bundle.AGENT
    if name is None or not path.exists():
        return
    try:
        found = _named(path.read_bytes(), path)
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}") from error
    if found != name:
        raise ConfigError(f"{path}: belongs to {found}, not to {name}; choose another folder")


def _named(agent_toml: bytes, where: Path) -> str:
    """Return the federation and the device that this configuration names."""
    try:
        content = tomllib.loads(agent_toml.decode("utf-8-sig"))
        return identity(content["federation"], as_id(str(content["device"])))
    except (ValueError, KeyError):
        raise ConfigError(f"{where}: agent.toml does not name the federation and the device") from None
