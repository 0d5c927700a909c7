"""Which of a machine's sources of packages is the Debian archive."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy import mirror as program
from tests.deploy.mirror import NoMirrorError, mirror

HERE = Path(__file__).parent
DEB822 = """\
Types: deb
# http://old.example/debian
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""
SHOP = "deb [arch=amd64 signed-by=/k.gpg] https://shop.example/debian bookworm main\n"


def apt(folder: Path, **files: str) -> Path:
    (folder / "sources.list.d").mkdir()
    for name, text in files.items():
        stem, _, kind = name.rpartition("_")
        path = folder / "sources.list" if stem == "sources" else folder / "sources.list.d" / f"{stem}.{kind}"
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"debian_sources": DEB822}, "http://mirror.example/debian"),
        (
            {"sources_list": "deb http://mirror.example/debian trixie main contrib\n"},
            "http://mirror.example/debian",
        ),
        ({"a_list": SHOP, "debian_sources": DEB822}, "http://mirror.example/debian"),
        (
            {
                "sources_list": "# deb http://old.example/debian bookworm main\n"
                "deb-src http://source.example/debian bookworm main\n"
                "deb http://mirror.example/debian-security/ bookworm-security main\n"
                "deb http://security.example/ bullseye/updates main\n"
                "deb [arch=amd64 trusted=yes] https://mirror.example/debian bookworm main # ours\n"
            },
            "https://mirror.example/debian",
        ),
        (
            {
                "one_sources": "Types: deb deb-src\nURIs:\n# old\n  http://mirror.example/d\n"
                "Suites: sid\nComponents:\n main\n"
            },
            "http://mirror.example/d",
        ),
        (
            {
                "off_sources": "Enabled: no\n" + DEB822.replace("mirror", "off").partition("\n\n")[0],
                "on_list": "deb http://on.example/d sid main\n",
            },
            "http://on.example/d",
        ),
    ],
)
def test_it_is_read_from_what_apt_reads(files: dict[str, str], found: str, tmp_path: Path) -> None:
    assert mirror(apt(tmp_path, **files), {}) == found


def test_a_list_of_mirrors_stands_for_its_first(tmp_path: Path) -> None:
    listed = tmp_path / "debian.list"
    listed.write_text("# ours\nhttps://first.example/debian\tpriority:1\nhttps://second.example/debian\n")
    text = DEB822.replace("http://mirror.example/debian/", f"mirror+file://{listed}")
    assert mirror(apt(tmp_path, debian_sources=text), {}) == "https://first.example/debian"


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"sources_list": "deb http://mirror.example/ubuntu noble main universe\n"},
        {"shop_list": "deb https://shop.example/apt stable-tools main\n"},
        {"sources_list": "deb http://mirror.example/debian sid contrib # main\n"},
        {"disc_list": "deb cdrom:[Debian 12]/ bookworm main\n"},
        {"debian_sources": DEB822.partition("\n\n")[2]},
    ],
    ids=["nothing", "another system", "a shop", "a part", "a disc", "security alone"],
)
def test_a_machine_without_one_is_asked_to_name_it(files: dict[str, str], tmp_path: Path) -> None:
    folder = apt(tmp_path, **files)
    with pytest.raises(NoMirrorError, match="FEDGE_DEBIAN_MIRROR"):
        mirror(folder, {})
    assert (
        mirror(folder, {"FEDGE_DEBIAN_MIRROR": "http://mirror.example/debian"})
        == "http://mirror.example/debian"
    )


def test_scripts_get_it_from_the_command() -> None:
    environment = {**os.environ, program.VARIABLE: "http://mirror.example/debian"}
    command = [sys.executable, "-I", str(HERE / "mirror.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "http://mirror.example/debian\n"


def test_nothing_in_the_tests_names_a_mirror_of_its_own() -> None:
    """Every debootstrap is told this machine's, and no script knows a host."""
    scripts = [
        *HERE.parent.rglob("*.sh"),
        HERE.parent / "power" / "image.py",
        HERE.parents[1] / ".ci" / "run",
    ]
    for script in scripts:
        text = script.read_text(encoding="utf-8").replace("\\\n", " ")
        assert "://" not in text.replace("mirror.py", ""), script
        for line in text.splitlines():
            if "debootstrap --" in line:
                assert "$mirror" in line, f"{script}: {line}"
