"""What lies outside of the folders in which root works."""

from pathlib import Path

import pytest

from tests.hostile_services.planted import Outside


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path / "etc")
