"""docs/state.md tells the tables, layouts and failpoints as they are."""

import re
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from agent.core import effects as agent_effects
from agent.shell import memory_layout
from aggregator.core import effects as aggregator_effects
from aggregator.ledger import layout as ledger
from fedge.storage.databases import open_database
from fleet.pki import register

PAGE = Path(__file__).parents[1] / "docs" / "state.md"


@pytest.mark.parametrize(
    ("file", "migrations"),
    [
        (memory_layout.FILE, memory_layout.MIGRATIONS),
        (ledger.FILE, ledger.MIGRATIONS),
        (register.FILE, register.MIGRATIONS),
    ],
)
def test_the_tables_are_told_as_they_are(tmp_path: Path, file: str, migrations: tuple[str, ...]) -> None:
    title = f"\n## `{file}`, layout {len(migrations)}\n"
    text = PAGE.read_text(encoding="utf-8")
    assert title in text
    section = text.partition(title)[2].partition("\n## ")[0]
    told = {
        name: columns.split() for name, columns in re.findall(r"^\| `(\w+)` \| `([\w ]+)` \|", section, re.M)
    }
    with closing(open_database(tmp_path / file, migrations)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        found = {name: [row[1] for row in db.execute(f"PRAGMA table_info({name})")] for name in names}
    assert told == found


def test_the_failpoints_are_there() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("\n## Failpoints\n")[2]
    effects = {
        "agent": {effect.__name__ for effect in get_args(agent_effects.Effect)} | set(agent_effects.MOMENTS),
        "aggregator": {effect.__name__ for effect in get_args(aggregator_effects.Effect)}
        | set(aggregator_effects.MOMENTS),
    }
    for program, known in effects.items():
        (row,) = re.findall(rf"^\| {program} \| (.*) \|$", section, re.M)
        assert set(re.findall(r"`(\w+)`", row)) == known
