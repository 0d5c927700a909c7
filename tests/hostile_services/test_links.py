"""A link is replaced itself, whoever runs the program."""

from pathlib import Path

import pytest

from fedge.storage import atomic_files
from tests.hostile_services.planted import PLANTED, SECRET, Outside

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["link", "dangling", "hard"])
def test_a_link_is_replaced_itself(tmp_path: Path, outside: Outside, kind: str) -> None:
    path = tmp_path / "model"
    PLANTED[kind](path, outside)
    atomic_files.atomic_write(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
    assert outside.file.read_bytes() == SECRET
    assert outside.file.stat().st_mode & 0o777 == 0o640
