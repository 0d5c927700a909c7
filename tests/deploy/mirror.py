#!/usr/bin/env python3
"""Where this machine gets Debian's packages from, by its configuration of apt: prints the mirror's address.

    debootstrap bookworm ROOT "$(tests/deploy/mirror.py)"

A machine that has no Debian archive, such as an Ubuntu, is told one: FEDGE_DEBIAN_MIRROR=http://…/debian.
Needs Python alone.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

APT = Path("/etc/apt")
VARIABLE = "FEDGE_DEBIAN_MIRROR"
STABLES = {"oldoldstable", "oldstable", "stable", "testing", "unstable", "sid"}
RELEASES = STABLES | {"buster", "bullseye", "bookworm", "trixie", "forky", "duke"}
ONE_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>.*)"
)


class NoMirrorError(Exception):
    """No source of this machine is a Debian archive."""


@dataclass(frozen=True)
class Source:
    """One source of packages."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    keys: str

    @property
    def is_debian(self) -> bool:
        """Whether it looks like the archive: others have a release of that name too, also below `/debian`."""
        plain = any(suite in RELEASES for suite in self.suites)
        return plain and "main" in self.components

    @property
    def is_surely_debian(self) -> bool:
        """Whether it says more: the archive's own keys, or the updates that only the archive has."""
        updates = any(suite.endswith("-updates") for suite in self.suites)
        return self.is_debian and (updates or "debian-archive" in self.keys)


def mirror(apt: Path = APT, environment: Mapping[str, str] = os.environ) -> str:
    """The address of the Debian archive that this machine uses; that of security updates has other suites.

    Raises:
        NoMirrorError: none of its sources is one.
    """
    if named := environment.get(VARIABLE):
        return named
    found = [source for source in sources(apt) if source.is_debian]
    for source in sorted(found, key=lambda source: not source.is_surely_debian):
        if uri := _address(source.uri):
            return uri
    raise NoMirrorError(
        f"{apt}: no source of packages here is a Debian archive; name one with {VARIABLE}=URL"
    )


def sources(apt: Path) -> Iterator[Source]:
    """What is enabled, in apt's own order."""
    folder = apt / "sources.list.d"
    for file in (apt / "sources.list", *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            yield from _paragraphs(text) if file.suffix == ".sources" else _lines(text)


def _lines(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        if found := ONE_LINE.fullmatch(line.partition("#")[0].strip()):
            components = tuple(found["components"].split())
            yield Source(found["uri"], (found["suite"],), components, found["options"] or "")


def _paragraphs(text: str) -> Iterator[Source]:
    """deb822: fields that go on in indented lines; a line of `#` is none, wherever it stands."""
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for paragraph in re.split(r"\n\s*\n", kept):
        fields = {
            name.lower(): value.split()
            for name, value in re.findall(r"^([\w-]+):(.*(?:\n[ \t].*)*)", paragraph, re.M)
        }
        if "deb" in fields.get("types", ()) and fields.get("enabled", ["yes"])[0].lower() not in (
            "no",
            "false",
        ):
            for uri in fields.get("uris", ()):
                suites, components = fields.get("suites", ()), fields.get("components", ())
                yield Source(uri, tuple(suites), tuple(components), " ".join(fields.get("signed-by", ())))


def _address(uri: str) -> str | None:
    """What debootstrap can use; a list of mirrors in a file stands for the first of them."""
    if uri.startswith("mirror+file:"):
        listed = Path("/" + uri.removeprefix("mirror+file:").lstrip("/"))
        addresses = listed.read_text(encoding="utf-8").split() if listed.is_file() else []
        return next((address.rstrip("/") for address in addresses if "://" in address), None)
    return uri.rstrip("/") if uri.startswith(("http:", "https:", "file:")) else None


if __name__ == "__main__":
    try:
        print(mirror())
    except NoMirrorError as error:
        sys.exit(f"{Path(__file__).name}: {error}")
