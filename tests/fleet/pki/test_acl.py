"""The access list: what each may do, and nothing else. That Mosquitto keeps to it is tested elsewhere."""

from collections.abc import Iterator

import pytest

from fedge.wire.topics import Topics
from fleet.pki.acl import Petitioner, acl_text
from fleet.pki.identity import Identity, Role

EVERYBODY = [
    Identity(federation, device)
    for federation in ("greenhouse", "green")
    for device in ("pi-1", "pi-10", "house-pi-1")
] + [
    Identity(federation, role=role)
    for federation in ("greenhouse", "green")
    for role in set(Role) - {Role.DEVICE}
]


def rights(text: str, name: str) -> Iterator[tuple[str, str]]:
    """What the block of one user grants."""
    user = None
    for line in text.splitlines():
        match line.split(" ", 2):
            case ["user", found]:
                user = found
            case ["topic", verb, topic] if user == name:
                yield verb, topic


def may(text: str, name: str, verb: str, topic: str) -> bool:
    """As Mosquitto reads it (MQTT 5, section 4.7)."""
    return any(
        verb in granted.replace("readwrite", "read write").split() and matches(pattern, topic)
        for granted, pattern in rights(text, name)
    )


def matches(pattern: str, topic: str) -> bool:
    parts, levels = pattern.split("/"), topic.split("/")
    if parts[-1] == "#":
        return (
            all(a in ("+", b) for a, b in zip(parts[:-1], levels, strict=False))
            and len(levels) >= len(parts) - 1
        )
    return len(parts) == len(levels) and all(a in ("+", b) for a, b in zip(parts, levels, strict=True))


def test_a_device_has_this_and_nothing_else() -> None:
    text = acl_text([Identity("greenhouse", "pi-1")])
    assert text[text.index("user") :] == (
        "user greenhouse_pi-1\n"
        "topic write fedge/v1/greenhouse/update/9a/pi-1\n"
        "topic readwrite fedge/v1/greenhouse/status/pi-1\n"
        "topic read fedge/v1/greenhouse/round\n"
        "topic read fedge/v1/greenhouse/task/#\n"
        "topic read fedge/v1/greenhouse/model/#\n"
        "topic read fedge/v1/greenhouse/export/#\n"
        "topic read fedge/v1/greenhouse/receipt/pi-1\n"
    )


def test_nothing_stands_before_the_first_block() -> None:
    """There Mosquitto finds what everybody may."""
    lines = acl_text(EVERYBODY).splitlines()
    before = lines[: lines.index(next(line for line in lines if line.startswith("user")))]
    assert all(line.startswith("#") or not line for line in before)
    assert not any(line.startswith("pattern") for line in lines)


@pytest.mark.parametrize("other", [("greenhouse", "pi-10"), ("green", "pi-1"), ("green", "house-pi-1")])
def test_no_device_reaches_anothers_topics(other: tuple[str, str]) -> None:
    text, topics = acl_text(EVERYBODY), Topics(other[0])
    for topic in (topics.update(other[1]), topics.status(other[1]), topics.receipt(other[1])):
        for verb in ("read", "write"):
            assert not may(text, "greenhouse_pi-1", verb, topic)


def test_only_the_aggregator_announces_and_answers() -> None:
    text, topics = acl_text(EVERYBODY), Topics("greenhouse")
    announced = (
        topics.round,
        topics.task(0, 1),
        topics.model(1, 2),
        topics.export,
        topics.export_frame(0, 0),
        topics.service,
        topics.receipt("pi-1"),
    )
    for topic in announced:
        assert {each.name for each in EVERYBODY if may(text, each.name, "write", topic)} == {
            "greenhouse__aggregator"
        }
    reads_updates = {each.name for each in EVERYBODY if may(text, each.name, "read", topics.update("pi-1"))}
    assert reads_updates == {"greenhouse__aggregator"}


def test_who_looks_on_says_nothing() -> None:
    text = acl_text(EVERYBODY)
    for role in (Role.WATCH, Role.OBSERVER):
        assert {verb for verb, _ in rights(text, Identity("greenhouse", role=role).name)} == {"read"}


def test_the_brokers_own_certificate_opens_nothing() -> None:
    assert "__broker" not in acl_text(EVERYBODY)


def test_who_is_dismissed_may_replace_its_status_and_nothing_else() -> None:
    leaving = Identity("greenhouse", "stolen")
    status = Topics("greenhouse").status("stolen")
    assert list(rights(acl_text(EVERYBODY, (), leaving), leaving.name)) == [("readwrite", status)]
    assert list(rights(acl_text(EVERYBODY), leaving.name)) == []
    again = acl_text([*EVERYBODY, leaving], (), leaving)
    assert again == acl_text([*EVERYBODY, leaving]), "who was enrolled anew has its own block"


def test_who_asks_for_a_certificate_reaches_the_registrar_and_nobody_else() -> None:
    claim = Petitioner("greenhouse", "greenhouse__claim-0a1b2c3d", "claim-0a1b2c3d")
    renewal = Petitioner("greenhouse", "greenhouse_pi-1__renew", "pi-1")
    text, topics = acl_text(EVERYBODY, [claim, renewal]), Topics("greenhouse")
    assert list(rights(text, claim.username)) == [
        ("write", topics.provision("claim-0a1b2c3d", "request")),
        ("read", topics.provision("claim-0a1b2c3d", "answer")),
    ]
    assert may(text, renewal.username, "write", topics.provision("pi-1", "request"))
    assert may(text, "greenhouse__registrar", "read", topics.provision("pi-1", "request"))
    assert may(text, "greenhouse__registrar", "write", topics.provision("pi-1", "answer"))
    assert not may(text, "greenhouse__registrar", "write", topics.provision("pi-1", "request"))
    heard = {
        each.name for each in EVERYBODY if may(text, each.name, "read", topics.provision("pi-1", "request"))
    }
    assert heard == {"greenhouse__registrar", "green__registrar"}, "they share one authority"
