"""Who may do what: every role tries every topic, against Mosquitto with the configuration of `fedge init`.

The tables of docs/access.md are what was seen; FEDGE_WRITE_DOCS=1 writes them anew.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.access import OUTSIDERS, Place, a_place, intended, spying, together
from tests.system.probes import Seen, probe
from tests.system.production import needs_mosquitto

pytestmark = [pytest.mark.system, needs_mosquitto]

PAGE = Path(__file__).parents[2] / "docs" / "access.md"
MEANING = {
    "A": "device `pi-a`",
    "B": "device `pi-b`",
    "agg": "the aggregator",
    "watch": "the aggregator's look around before it takes its session",
    "obs": "a dashboard",
    "reg": "the registrar",
    "renew": "`pi-a` renewing its certificate, by password on the provisioning listener",
    "claim": "whoever has an enrolment token, on the provisioning listener",
    "h-A": "device `pi-a` of another federation, `harbour`, on the same broker",
    "h-agg": "the aggregator of `harbour`",
}
WILDCARDS = ["#", "fedge/#", "+/+/+/round", "$SYS/#", "$share/g/#", "$share/g/fedge/v1/greenhouse/update/+/+"]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with a_place() as place:
        yield place


def cell(seen: Seen, topic: str) -> str:
    """What was seen, in the table's words; longer where the ways of reading or writing do not agree."""
    reads = {"live": topic in seen.read, "retained": topic in seen.found}
    writes = {"said": topic in seen.acknowledged}
    if topic.startswith("$"):  # only the broker speaks there, and what it says of itself lies there
        reads.pop("live")
    else:
        writes |= {"done": topic in seen.written, "retained": topic in seen.retained}
    if len(set(reads.values())) > 1 or len(set(writes.values())) > 1:
        return f"reads {reads}, writes {writes}"
    return ("r" if all(reads.values()) else "") + ("w" if all(writes.values()) else "") or "-"


@pytest.fixture(scope="module")
def seen(place: Place) -> dict[str, dict[str, str]]:
    roles, table = intended()
    topics = {topic: place.spell(topic) for topic in table}
    open_ = [spelt for spelt in topics.values() if not spelt.startswith("$")]
    others = [spelt for spelt in topics.values() if spelt.startswith("$")]
    with together({role: place.member(role) for role in roles}) as members, spying(place) as spy:
        outcome = probe(spy, members, open_, [*others, *WILDCARDS])
        assert not any(member.lost.is_set() for member in members.values())
    foreign = {name: one.read | one.found - set(open_) - set(others) for name, one in outcome.items()}
    assert all(
        topic in topics.values() or topic.startswith("$SYS") for each in foreign.values() for topic in each
    )
    return {topic: {role: cell(outcome[role], spelt) for role in roles} for topic, spelt in topics.items()}


def test_every_role_may_do_what_is_intended_and_nothing_else(seen: dict[str, dict[str, str]]) -> None:
    _, table = intended()
    wrong = [
        f"{role} on {topic}: intended {table[topic][role]}, seen {found}"
        for topic, row in seen.items()
        for role, found in row.items()
        if found != table[topic][role]
    ]
    assert not wrong, "\n".join(wrong)
    print(f"{sum(map(len, table.values()))} pairs of role and topic, as intended")


def test_the_page_tells_what_was_seen(seen: dict[str, dict[str, str]]) -> None:
    text = page(seen)
    if os.environ.get("FEDGE_WRITE_DOCS") == "1":
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text, "FEDGE_WRITE_DOCS=1 writes docs/access.md anew"


# The page


TEXT = """\
# Who may do what

Which topics each identity may read and write, for whoever runs the broker or checks its access list. The
table is measured, not intended: on Mosquitto with the configuration of `fedge init`, every role tried to
publish on every topic, to publish retained, to receive what is published, and to receive what is retained,
by the topic's name and by wildcards. `tests/system/test_access_matrix.py` repeats this in every run. It
compares the result with the intended rights, which are written by hand in `tests/system/access.py`, and
with this page, which `FEDGE_WRITE_DOCS=1` writes. Mosquitto 2.0.11 and 2.1.2 gave the same result.

The roles:

{roles}

{table}

An empty cell means neither. `{{lane-a}}` is the lane of `pi-a` (first byte of its id's SHA-256),
`{{claim}}` the name of a token's claim. A device's identity belongs to version 1 of the protocol, so it may
not publish on `fedge/v2`.

## Not let in

Port 8883 requires a certificate, port 8884 a name and a password. These were refused:

| a client with | port |
|---|---|
{outsiders}

## Another's name

The broker takes the client id from the certificate, or from the user name. A client that asks for another
client id gets its own. Every role asked for the aggregator's and for a device's; their connections and
sessions stayed. The broker never publishes a last will on a topic that its client may not write.
"""


def page(seen: dict[str, dict[str, str]]) -> str:
    """docs/access.md."""
    roles, _ = intended()
    words = {"r": "reads", "w": "writes", "rw": "both", "-": ""}
    rows = [
        [f"`{topic}`", *(words.get(row[role], row[role]) for role in roles)] for topic, row in seen.items()
    ]
    table = [["topic", *roles], ["---"] * (1 + len(roles)), *rows]
    return TEXT.format(
        roles="\n".join(f"* **{role}** {MEANING[role]}" for role in roles),
        table="\n".join(f"| {' | '.join(row)} |" for row in table),
        outsiders="\n".join(f"| {who} | {port} |" for who, (port, _) in OUTSIDERS.items()),
    )
