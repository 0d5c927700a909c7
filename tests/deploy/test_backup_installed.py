"""docs/operations.md on an installed server: its last part walked through on a booted Debian of its own."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.debian import ROOT, Debian
from tests.deploy.walk import FENCE, sections, walk
from tests.milestones import COUNTS
from tests.wording import assert_tells

pytestmark = pytest.mark.deploy

TITLE = "On an installed server"
AGENT, AGGREGATOR = "fedge-agent@pumps", "fedge-aggregator@pumps"
ASK = """/opt/fedge/server/bin/python - <<'END'
import json, sqlite3
db = sqlite3.connect("file:/var/lib/fedge-aggregator/pumps/ledger.db?mode=ro", uri=True)
((ledger, generation),) = db.execute("SELECT hex(ledger), generation FROM life")
((last,),) = db.execute("SELECT max(round) FROM rounds WHERE closed_at AND generation = ?", (generation,))
print(json.dumps([ledger, generation, last]))
END"""


@pytest.fixture
def debian(wheel: Path) -> Iterator[Debian]:
    """A server that learns, and its device, on one machine."""
    if os.geteuid() != 0:
        pytest.skip("a booted Debian needs root")
    debian = Debian("fedge-keeping", "10.213.59")
    debian.wipe()
    debian.up()
    try:
        debian.copy(wheel, f"/root/{wheel.name}")
        page = sections(ROOT / "docs" / "deploy.md")
        walk(debian, page["The server"])
        debian.sh(
            "sed -i 's/^rounds *=.*/rounds = 100000/; s/^patience *=.*//; s/^epochs *=.*/epochs = 50/;"
            " s/^\\[state\\].*/&\\nkeep_rounds = 100000/'"
            " /etc/fedge/federations/pumps/federation.toml\n"
            f"systemctl restart {AGGREGATOR}"
        )
        debian.copy(ROOT / "examples" / "pump-1" / "data.csv", "/srv/pumps/data.csv")
        enrolling, joining = page["A device"].split("**2. On the device,**")
        walk(debian, enrolling)
        debian.sh("cp /etc/fedge/federations/pumps/devices/pump-1.fedge .")
        walk(debian, joining.partition("**Many devices")[0])
        debian.says(AGENT, f"round 1.3: {COUNTS}")
        yield debian
    finally:
        debian.wipe()


def do(debian: Debian, block: int) -> str:
    """Run a block of the page, line by line; returns what was said."""
    kind, lines = FENCE.findall(sections(ROOT / "docs" / "operations.md")[TITLE])[block]
    assert kind == "sh"
    return "\n".join(debian.sh(line) for line in lines.splitlines())


def ledger(debian: Debian) -> tuple[str, int, int]:
    """Its id, its generation, and the last round closed in it."""
    name, generation, last = json.loads(debian.sh(ASK))
    return name, generation, last


def learns(debian: Debian, generation: int) -> None:
    """Wait until an update of that generation counts, and then another."""
    text = f"round {generation}."
    for _ in range(2):
        before = len(debian.journal(AGENT))
        debian.until(
            lambda before=before: any(
                text in line and COUNTS in line for line in debian.journal(AGENT)[before:]
            ),
            f"learning goes on in generation {generation}",
            AGENT,
            AGGREGATOR,
        )


def test_an_installed_federation_goes_back_and_moves(debian: Debian, wheel: Path) -> None:
    name, generation, _ = ledger(debian)
    assert generation == 1
    assert_tells(do(debian, 0), "pumps", "1.")
    assert (debian.root / "root/pumps.backup").stat().st_mode & 0o777 == 0o600
    assert_tells(do(debian, 1), "round 1.2 ", "mean/2", "same")
    learns(debian, 1)

    said = do(debian, 2)
    assert "ledger.db.quarantine-1" in said
    assert_tells(said, "2.1")
    learns(debian, 2)
    assert ledger(debian)[:2] == (name, 2)

    do(debian, 3)
    assert (debian.root / "root/pumps.tar").stat().st_mode & 0o777 == 0o600
    moved = ledger(debian)
    # Another server has nothing but the programs; it has the name of the old one.
    debian.sh("fedge-aggregator uninstall pumps --purge")
    debian.sh(f"test ! -e /var/lib/private/fedge-aggregator/pumps && python3 {wheel.name}/aggregator install")
    do(debian, 4)
    learns(debian, 2)
    found = ledger(debian)
    assert found[:2] == moved[:2]
    assert found[2] > moved[2]
    owners = debian.sh("stat -c %U /var/lib/fedge-aggregator/pumps/ /var/lib/fedge-aggregator/pumps/*")
    assert len(set(owners.splitlines())) == 1, owners
