"""docs/security.md has a row for every field that a device may write, with a bound and tests that are there.

The fields are those of the messages' own definitions, and which messages these are follows from what the
broker lets a device and a petitioner write: what is added later must be given a bound.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import pytest

from aggregator.aggregation.figures import RANGES
from fedge.identity.provisioning import Enrol, Renew, identity, renewal_user
from fedge.masking.messages import (
    Advertise,
    Agreement,
    Consistency,
    Delivery,
    MaskedInput,
    Roster,
    Share,
    Survivors,
    Terms,
    Unmask,
)
from fedge.masking.round_messages import Call, Objection, Promise
from fedge.transport import Publication
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.kinds import KINDS
from fedge.wire.messages.message import Message, Part
from fedge.wire.messages.status import Status
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.topics import parse
from fleet.pki.acl import Petitioner, acl_text
from fleet.pki.identity import Identity
from fleet.simulator import exaggerations

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
CHAPTER = "What devices write"
MASKED = (Promise, Advertise, Share, MaskedInput, Consistency, Unmask, Objection)
"""What a device writes in masked rounds; `tests/aggregator/test_masked_liars.py` lies with all of these."""
WRITTEN: dict[str, tuple[type[Message], ...]] = {
    "update": (Frame, Update, Survey, *MASKED),
    "status": (Status,),
    "provision": (Enrol, Renew),
}
"""What is said on the topics that devices and petitioners may write."""
HEARD = frozenset({"task", "model", "round", "receipt", "service", "export", "signed", "issued"})
HEARD |= {kind.TYPE for kind in (Terms, Call, Roster, Delivery, Survivors, Agreement)}
"""Messages that no device writes."""
HEADING = ("field", "bound", "where", "test")


@dataclass(frozen=True)
class Row:
    """One row of the tables; one without fields goes on with those of the row before."""

    names: tuple[str, ...]
    bound: str
    where: str
    tests: tuple[tuple[str, str], ...]
    """Path below tests/, without its suffix, and name."""


def rows(page: str) -> list[Row]:
    """The rows of the chapter's tables of fields."""
    chapter = page.split(f"\n## {CHAPTER}\n")[1].split("\n### ")[0]
    found: list[Row] = []
    for line in chapter.splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split(" | "))
        if not line.startswith("| ") or cells == HEADING:
            continue
        assert len(cells) == len(HEADING), f"not a row of {len(HEADING)} cells: {line}"
        names, bound, where, tests = cells
        found.append(
            Row(
                tuple(re.findall(r"`([\w.]+)`", names)),
                bound,
                where,
                tuple(re.findall(r"`([\w/]+)::(\w+)`", tests)),
            )
        )
    return found


def fields_of(kind: type[Message]) -> Iterator[str]:
    """The fields of a message, and those of the parts that it is made of, by the name of each part."""
    schema = kind.model_json_schema()
    for name, part in {kind.__name__: schema, **schema.get("$defs", {})}.items():
        yield from (f"{name}.{field}" for field in part.get("properties", ()))


def wanted() -> set[str]:
    """Everything that must have a row."""
    return {
        *(field for kinds in WRITTEN.values() for kind in kinds for field in fields_of(kind)),
        *(f"metrics.{name}" for name in RANGES),
        *(field.name for field in fields(Publication)),
    }


def faults(page: str) -> list[str]:
    """What is wrong with the tables of a page, in words."""
    table = rows(page)
    listed = [name for row in table for name in row.names]
    return [
        *(f"{name} has no row" for name in sorted(wanted() - set(listed))),
        *(f"{name} has two rows" for name in sorted({name for name in listed if listed.count(name) > 1})),
        *(f"{name} is no field" for name in sorted(set(listed) - wanted())),
        *(f"{row.names} has no bound" for row in table if not row.bound or not row.where),
        *(f"{row.names}: {row.bound}: no test" for row in table if not row.tests),
        *(
            f"there is no {file}::{name}"
            for row in table
            for file, name in row.tests
            if not is_there(file, name)
        ),
    ]


def is_there(file: str, name: str) -> bool:
    return name in functions_of(ROOT / "tests" / f"{file}.py")


@cache
def functions_of(path: Path) -> frozenset[str]:
    if not path.exists():
        return frozenset()
    module = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_every_field_has_a_bound_and_every_bound_a_test() -> None:
    assert faults(PAGE.read_text(encoding="utf-8")) == []


def test_a_field_without_a_row_is_named() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in sorted(wanted()):
        found = faults(page.replace(f"| `{name}`", "| `gone`", 1).replace(f", `{name}`", ", `gone`", 1))
        assert f"{name} has no row" in found
        assert "gone is no field" in found


def test_a_field_that_is_added_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Position(Part):
        latitude: float

    class Later(Status):
        mood: str = ""
        position: Position | None = None

    Later.__name__ = "Status"
    monkeypatch.setitem(WRITTEN, "status", (Later,))
    monkeypatch.setitem(RANGES, "humidity", RANGES["accuracy_before"])  # type: ignore[misc]
    found = faults(PAGE.read_text(encoding="utf-8"))
    named = ("Position.latitude", "Status.mood", "Status.position", "metrics.humidity")
    assert found == [f"{name} has no row" for name in named]


@pytest.mark.parametrize(
    "wrong", ["test_admission::test_which_nobody_wrote", "test_of_nothing::test_refused", "test_admission"]
)
def test_a_test_that_is_not_there_is_named(wrong: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    found = faults(
        page.replace(
            "`aggregator/test_one_of_twenty::test_steps_decide_nothing_at_admission`", f"`aggregator/{wrong}`"
        )
    )
    assert len(found) == 1, found


def test_what_devices_may_write_is_what_is_listed_here() -> None:
    """By the broker's own access list; and each kind of message is a device's or it is not."""
    device = Identity("greenhouse", "pi-1")
    claim = Petitioner("greenhouse", "greenhouse__claim-0a1b2c3d", "claim-0a1b2c3d")
    renewal = Petitioner("greenhouse", renewal_user("greenhouse", "pi-1"), "pi-1")
    written = set()
    for block in acl_text([device], [claim, renewal]).split("user ")[1:]:
        assert block.startswith((identity("greenhouse", "pi-1"), claim.username))
        for right, topic in re.findall(r"topic (\w+) (\S+)", block):
            if right in ("write", "readwrite"):
                address = parse(topic)
                assert address is not None
                assert address.side != "answer"
                written.add(address.kind)
    assert written == WRITTEN.keys()
    devices = {kind for kinds in WRITTEN.values() for kind in kinds}
    assert set(exaggerations.KINDS) == devices - {Enrol, Renew, *MASKED}, (
        "the liar of the simulated world tells all of these"
    )
    assert KINDS.keys() == {kind.TYPE for kind in devices} | HEARD


def test_metrics_are_the_only_field_with_names_of_the_devices_own() -> None:
    """A map would bring names that no definition lists; those of further vectors must be the plan's."""
    assert Update.model_fields["metrics"].annotation == Survey.model_fields["metrics"].annotation
    maps = [
        f"{kind.__name__}.{field}"
        for kinds in WRITTEN.values()
        for kind in kinds
        for field, part in kind.model_json_schema()["properties"].items()
        if "patternProperties" in str(part) or "additionalProperties" in str(part)
    ]
    assert maps == ["Update.vectors", "Update.metrics", "Survey.metrics"]
