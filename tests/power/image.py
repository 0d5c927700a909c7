"""The system of a small virtual machine: Debian, Mosquitto, and what our programs need; built once, and kept.

It holds nothing of ours: programs and state lie on a second disk, made anew for each run.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import fleet
from tests.deploy.mirror import mirror

ROOT = Path(fleet.__file__).parents[1]
PACKAGES = ("linux-image-cloud-amd64", "python3", "mosquitto", "iproute2", "kmod")
RELEASE, PYTHON = "bookworm", "3.11"
SIZE = "1500M"
INIT = Path(__file__).with_name("init.sh")
TOOLS = ("qemu-system-x86_64", "debootstrap", "chroot", "mke2fs", "e2fsck", "debugfs", "mosquitto_passwd")


@dataclass(frozen=True)
class Image:
    """What QEMU boots."""

    kernel: Path
    initrd: Path
    disk: Path
    """Read-only ext4, the root file system."""


def missing() -> str | None:
    """Why no image can be built here."""
    if os.geteuid() != 0:
        return "debootstrap needs root"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def image() -> Image:
    """The image of this recipe; the first time it is built, from the network, in some minutes.

    Raises:
        subprocess.CalledProcessError: a tool failed; its output is in `build.log` beside the image.
    """
    requirements = _requirements()
    recipe = sha256("\n".join([RELEASE, *PACKAGES, *requirements, INIT.read_text(encoding="utf-8")]).encode())
    # Images are kept, one a recipe: a few hundred MB.
    folder = Path(os.environ.get("FEDGE_POWER_FOLDER", "/var/tmp/fedge-power")) / recipe.hexdigest()[:12]
    made = Image(folder / "vmlinuz", folder / "initrd.img", folder / "root.ext4")
    if not made.disk.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _build(made, folder, requirements)
    return made


def _build(made: Image, folder: Path, requirements: list[str]) -> None:
    """Build it in a folder; its disk appears last, and as a whole."""
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    packages = root / "usr/local/lib" / f"python{PYTHON}" / "dist-packages"
    lock = f"--constraint={ROOT / 'requirements.lock'}"
    wheels = ("--only-binary=:all:", f"--python-version={PYTHON}", lock)
    new = made.disk.with_suffix(".new")
    new.unlink(missing_ok=True)
    with (folder / "build.log").open("w") as log:

        def run(*command: str | Path) -> None:
            subprocess.run(command, stdout=log, stderr=log, check=True)

        run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", RELEASE, root, mirror())
        run(sys.executable, "-m", "pip", "install", "--target", packages, *wheels, *requirements)
        shutil.copyfile(INIT, root / "init.sh")
        (root / "init.sh").chmod(0o755)
        shutil.copyfile(next((root / "boot").glob("vmlinuz-*")), made.kernel)
        shutil.copyfile(next((root / "boot").glob("initrd.img-*")), made.initrd)
        run("mke2fs", "-q", "-t", "ext4", "-d", root, new, SIZE)
    new.rename(made.disk)
    shutil.rmtree(root)


def _requirements() -> list[str]:
    """What a device and an aggregator need, by the project's own word."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["aggregator"]]
