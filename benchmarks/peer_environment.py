"""The environments of peers: each has its own, which is made at the first use and kept."""

import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

CACHE = Path.home() / ".cache" / "fedge-bench"
INSTALL_TIMEOUT_S = 1_800


def python_of(folder: str, packages: Sequence[str]) -> Path:
    """The Python of a peer's environment, which is made if it is not there.

    Args:
        folder: its name within the cache.
        packages: what pip installs in it.

    Raises:
        CalledProcessError: pip cannot install them.
    """
    python = CACHE / folder / "bin" / "python"
    ready = CACHE / folder / "ready"
    if not ready.exists():
        venv.create(CACHE / folder, with_pip=True)
        command: list[str | Path] = [python, "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(command, check=True, timeout=INSTALL_TIMEOUT_S)
        ready.touch()
    return python
