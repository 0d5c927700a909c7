"""The power is cut under a whole federation: nothing it has said is lost, and nothing is unreadable."""

from pathlib import Path

import pytest

from tests.power.cuts import run
from tests.power.image import missing

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(missing() is not None, reason=f"a virtual machine cannot be made here: {missing()}"),
]


def test_fault_34_fifty_power_cuts(tmp_path: Path) -> None:
    verdict = run(tmp_path, seed=1, cuts=50)
    print(verdict)
    assert verdict.receipts > verdict.cuts, "too little was said to show anything"
    assert verdict.while_starting < verdict.cuts


def test_a_store_that_does_not_sync_its_commits_is_caught(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"lost|gone|forgot|damaged"):
        run(tmp_path, seed=1, cuts=10, spoil=_sync_at_checkpoints_only)


def _sync_at_checkpoints_only(code: Path) -> None:
    store = code / "fedge" / "storage" / "databases.py"
    text = store.read_text(encoding="utf-8")
    assert "PRAGMA synchronous=FULL" in text
    store.write_text(text.replace("PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"), encoding="utf-8")
