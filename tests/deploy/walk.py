"""Walk through a page of the documentation as it stands: type its commands, make its edits, keep count."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.debian import Debian

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KEY = re.compile(r"^(\w+) *= *", re.MULTILINE)


@dataclass(frozen=True)
class Walked:
    """What it took to walk through a section."""

    commands: int
    seconds: float
    said: str


def sections(page: Path) -> dict[str, str]:
    """The text of each `## …` section by its title."""
    parts = re.split(r"(?m)^## (.+)$", page.read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def walk(debian: Debian, section: str) -> Walked:
    """Do what the section says, in root's home: each `sh` line is a command, each `toml` block an edit."""
    began_s, commands, said = time.monotonic(), 0, []
    for kind, block in FENCE.findall(section):
        if kind == "sh":
            for line in block.splitlines():
                commands += 1
                said.append(f"$ {line}\n{debian.sh(line)}")
        elif kind == "toml":
            edit(debian, block)
    return Walked(commands, time.monotonic() - began_s, "\n".join(said))


def edit(debian: Debian, block: str) -> None:
    """Put the block's lines in the place of those with the same keys, in the file its first line names."""
    first, _, lines = block.partition("\n")
    path = debian.root / "root" / first.removeprefix("# ")
    text = path.read_text(encoding="utf-8")
    for line in lines.splitlines():
        key = KEY.match(line)
        assert key is not None, f"no setting: {line}"
        text, times = re.subn(rf"(?m)^{key[1]} *=.*$", lambda _, line=line: line, text)
        assert times == 1, f"{path}: {key[1]} stands there {times} times"
    path.write_text(text, encoding="utf-8")
