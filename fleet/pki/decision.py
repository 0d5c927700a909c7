"""The registrar's decision on a request. Pure, so that every case can be tested.

Everything that has to be looked up, read or verified comes in as facts. The decision is carried out
elsewhere.

Each use of a claim gives one identity with a name of its own. A renewal changes only the key and the dates of
a valid identity. The same request is signed once: a device that repeats it, because an answer was lost, gets
the same certificate, and no further use of the claim is counted.
"""

from dataclasses import dataclass

from fedge.identity.provisioning import MAX_COMMON_NAME, Refused, identity

MOST_A_DAY = 8
"""Renewals of one device in 24 hours: enough for one that crashes while it renews, too few to fill a disk."""


@dataclass(frozen=True)
class Claim:
    """A right to a number of certificates, until some time."""

    name: str
    federation: str
    uses: int
    used: int
    expires_at_s: float
    """Unix time."""
    revoked: bool = False


@dataclass(frozen=True)
class Given:
    """The certificate that the same request got before."""

    identity: str
    certificate: bytes
    """PEM."""


@dataclass(frozen=True)
class Shown:
    """The certificate that a device shows to renew, as the register knows it."""

    identity: str
    not_after_s: float
    """Unix time."""
    revoked: bool


@dataclass(frozen=True)
class EnrolmentFacts:
    """The facts about a request with a claim."""

    federation: str
    device: str
    allowed: bool
    """Whether the name is allowed for a device."""
    request_fault: str | None
    """An error in the request itself, if there is one: in its form, signature, key or name."""
    claim: Claim | None
    proven: bool
    """Whether the request's proof was made with the claim's secret."""
    given: Given | None
    known: bool
    """Whether the register has an identity of this name."""
    revoked: bool
    """Whether that one was revoked."""


@dataclass(frozen=True)
class RenewalFacts:
    """The facts about a request to renew."""

    federation: str
    device: str
    request_fault: str | None
    counts: bool
    """Whether the device is enrolled and not revoked."""
    shown: Shown | None
    """None: the register does not know the certificate."""
    proven: bool
    """Whether the request was signed with the key of the certificate shown."""
    given: Given | None
    lately: int
    """The number of certificates that this device got in the last 24 hours."""


@dataclass(frozen=True)
class Sign:
    """Make a certificate, and store it."""

    identity: str


@dataclass(frozen=True)
class GiveAgain:
    """Answer with the earlier certificate."""

    certificate: bytes
    """PEM."""


@dataclass(frozen=True)
class Refuse:
    """Sign nothing."""

    reason: Refused
    detail: str
    """The text for the device's owner: what is wrong and what to do."""


Decision = Sign | GiveAgain | Refuse


def on_enrolment(facts: EnrolmentFacts, now_s: float) -> Decision:
    """Decide about a request that comes with a claim.

    Args:
        facts: what is known.
        now_s: Unix time.
    """
    name, claim = identity(facts.federation, facts.device), facts.claim
    if claim is None or claim.revoked or claim.federation != facts.federation:
        return Refuse(
            "unknown_claim", "this token is unknown or was withdrawn: ask the operator for a new one"
        )
    if not facts.proven:  # before any answer that would reveal to a stranger who is enrolled
        return Refuse("wrong_proof", "the request was not made with this token's secret")
    if facts.given is not None:
        return _again(facts.given, name)
    if now_s >= claim.expires_at_s:
        return Refuse("claim_expired", "this token has expired: ask the operator for a new one")
    if claim.used >= claim.uses:
        times = "once" if claim.uses == 1 else f"{claim.uses} times"
        return Refuse(
            "claim_used_up",
            f"this token could be used {times} and is used up: ask the operator for a new one",
        )
    if not facts.allowed:
        long = f": {name!r} has more than {MAX_COMMON_NAME} characters" if len(name) > MAX_COMMON_NAME else ""
        return Refuse("bad_request", f"no device may be called {facts.device!r}{long}")
    if facts.request_fault is not None:
        return Refuse("bad_request", facts.request_fault)
    if facts.revoked:
        return Refuse("revoked", f"{name} was revoked: only `fedge enroll --again` takes it back")
    if facts.known:
        return Refuse("name_taken", f"{name} is enrolled already: choose another name for this device")
    return Sign(name)


def on_renewal(facts: RenewalFacts, now_s: float) -> Decision:
    """Decide about a request to renew.

    Args:
        facts: what is known.
        now_s: Unix time.
    """
    name, shown = identity(facts.federation, facts.device), facts.shown
    if shown is None or shown.identity != name:
        return Refuse("unknown_certificate", f"the certificate shown was not issued to {name} here")
    if not facts.counts or shown.revoked:
        return Refuse("revoked", f"{name} was revoked: only `fedge enroll --again` takes it back")
    if not facts.proven:
        return Refuse("wrong_proof", "the request was not signed with the present certificate's key")
    if facts.given is not None:
        return _again(facts.given, name)
    if now_s >= shown.not_after_s:
        return Refuse(
            "certificate_expired",
            "the present certificate has expired: `fedge enroll --again` makes a new bundle for this device",
        )
    if facts.request_fault is not None:
        return Refuse("bad_request", facts.request_fault)
    if facts.lately >= MOST_A_DAY:
        return Refuse("too_often", f"{facts.lately} certificates in 24 hours: try again tomorrow")
    return Sign(name)


def _again(given: Given, name: str) -> Decision:
    if given.identity != name:
        return Refuse("bad_request", "another device has a certificate for this key: make a new key")
    return GiveAgain(given.certificate)
