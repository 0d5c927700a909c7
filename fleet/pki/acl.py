"""The access list: what each identity may publish and read, as Mosquitto's `acl_file`, one block each.

A pattern with `%u` could not distinguish federations that share a broker. A removed block takes effect on a
live connection as soon as the broker is signalled; a list of revoked certificates does not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedge.wire.topics import Topics
from fleet.pki.identity import Identity, Role

BROKER_FIGURES = "$SYS/#"
"""The broker's own counters: connections, messages, bytes, dropped messages."""

_HEADING = """\
# Written by `fedge`: who may publish and read what. Changes made here are lost; `fedge enroll` and
# `fedge revoke` change it. A name without a block has no rights.
"""


@dataclass(frozen=True, order=True)
class Petitioner:
    """A user who may only ask the registrar for a certificate."""

    federation: str
    username: str
    name: str
    """The requester's name in the topics: a claim's name, or a device's id."""


def acl_text(
    identities: Iterable[Identity],
    petitioners: Iterable[Petitioner] = (),
    farewell: Identity | None = None,
) -> str:
    """The whole file, for members that are not revoked; the device `farewell` may only replace its status."""
    known = sorted(set(identities), key=lambda identity: identity.name)
    federations = sorted({identity.federation for identity in known})
    blocks = [
        _block(identity.name, _rights(identity, federations))
        for identity in known
        if identity.role != Role.BROKER
    ]
    blocks += [_block(petitioner.username, _asking(petitioner)) for petitioner in sorted(set(petitioners))]
    if farewell is not None and farewell.device is not None and farewell not in known:
        status = Topics(farewell.federation).status(farewell.device)
        blocks.append(_block(farewell.name, [("readwrite", status)]))
    return "\n".join((_HEADING, *blocks))


Right = tuple[str, str]
"""`read` or `write`, and a topic filter."""


def _block(name: str, rights: Sequence[Right]) -> str:
    return f"user {name}\n" + "".join(f"topic {verb} {topic}\n" for verb, topic in rights)


def _rights(identity: Identity, federations: Sequence[str]) -> list[Right]:
    topics = Topics(identity.federation)
    match identity.role:
        case Role.DEVICE:
            assert identity.device is not None
            return _device(topics, identity.device)
        case Role.AGGREGATOR:
            spoken = (topics.round, topics.tasks, topics.models, topics.exports, topics.service)
            return [
                *(("write", topic) for topic in (*spoken, topics.all_receipts)),
                *(("read", topic) for topic in (topics.all_updates, topics.all_statuses, topics.service)),
            ]
        case Role.WATCH:
            return [("read", topic) for topic in (topics.round, topics.service, topics.all_statuses)]
        case Role.OBSERVER:
            # Not the updates: they reveal more about a device than a dashboard needs.
            shown = (topics.round, topics.tasks, topics.models, topics.exports, topics.service)
            more = (topics.all_receipts, topics.all_statuses, BROKER_FIGURES)
            return [("read", topic) for topic in (*shown, *more)]
        case Role.REGISTRAR:  # one authority signs for all federations that share its broker
            served = [Topics(federation) for federation in federations]
            return [
                *(("read", each.all_provision_requests) for each in served),
                *(("write", each.all_provision_answers) for each in served),
            ]
        case Role.BROKER:
            return []


def _device(topics: Topics, device: str) -> list[Right]:
    return [
        ("write", topics.update(device)),
        ("readwrite", topics.status(device)),
        *(
            ("read", topic)
            for topic in (topics.round, topics.tasks, topics.models, topics.exports, topics.receipt(device))
        ),
    ]


def _asking(petitioner: Petitioner) -> list[Right]:
    topics, name = Topics(petitioner.federation), petitioner.name
    return [("write", topics.provision(name, "request")), ("read", topics.provision(name, "answer"))]
