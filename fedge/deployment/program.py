"""The virtual environments of an installed program, and the symbolic link to the one in use.

A new environment is completed beside the one in use, and then replaces it by a single rename. If anything
fails before, the old one stays in use.
"""

import importlib.metadata
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fedge import __version__
from fedge.deployment.machine import need_package, run, say
from fedge.errors import DeploymentError
from fedge.storage.atomic_files import make_folder
from fedge.storage.files import point

BASE = Path("/opt/fedge")
BIN = Path("/usr/local/bin")


@dataclass(frozen=True)
class Program:
    """One of Fedge's programs as it is installed."""

    name: str
    """`/opt/fedge/{name}` is a link to its environment `/opt/fedge/{name}.{number}`."""
    extra: str
    """The extra that it needs besides the wheel's own dependencies."""
    commands: tuple[str, ...]
    """Its commands, which are linked in `/usr/local/bin`."""
    base: Path = BASE
    bin: Path = BIN

    @property
    def link(self) -> Path:
        """The link, which units and users name."""
        return self.base / self.name

    @property
    def current(self) -> Path | None:
        """The environment in use."""
        return self.link.resolve() if self.link.is_symlink() and self.link.exists() else None

    @property
    def all(self) -> list[Path]:
        """Every environment of this program, in use or not."""
        return [path for path in self.base.glob(f"{self.name}.*") if path.suffix[1:].isdecimal()]

    def make(self, requirement: str, *, system_site_packages: bool = False) -> Path:
        """Make a new environment, and install this requirement into it.

        Raises:
            DeploymentError: the environment cannot be made. It has been removed again.
        """
        if find_spec("ensurepip") is None:
            need_package("python3-venv")
        number = 1 + max((int(path.suffix[1:]) for path in self.all), default=0)
        path = self.base / f"{self.name}.{number}"
        try:
            make_folder(self.base, mode=0o755)
            say(f"make {path} with {requirement}")
            options = ["--system-site-packages"] if system_site_packages else []
            run([sys.executable, "-m", "venv", *options, path])
            run([path / "bin/python", "-m", "pip", "install", "--disable-pip-version-check", requirement])
            run([path / "bin" / self.commands[0], "--version"])
        except OSError as error:
            raise DeploymentError(f"{path}: cannot be made: {error.strerror}") from None
        except DeploymentError:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return path

    @contextmanager
    def next(self, wheel: Path | None, *, system_site_packages: bool = False) -> Iterator[Path]:
        """Provide the environment to use: this process's own if it is the program's and no wheel is given,
        else a new one.

        If the block fails, the environment is removed unless it is in use by then.
        """
        own = Path(sys.prefix)
        if wheel is None and own.parent == self.base and own in self.all:
            path = own
        else:
            path = self.make(requirement(wheel, self.extra), system_site_packages=system_site_packages)
        try:
            yield path
        except BaseException:
            if path != self.current:
                shutil.rmtree(path, ignore_errors=True)
            raise

    def switch(self, path: Path) -> None:
        """Put this environment into use, durably and in one step, and link its commands."""
        os.sync()  # after a power cut the link must not name an environment with empty files
        _point(self.link, Path(path.name))
        make_folder(self.bin, mode=0o755)
        for command in self.commands:
            _point(self.bin / command, self.link / "bin" / command)

    def tidy(self) -> None:
        """Remove the environments that are not in use."""
        for path in self.all:
            if path != self.current:
                shutil.rmtree(path, ignore_errors=True)

    def remove(self) -> None:
        """Remove all environments of the program, and the links to its commands."""
        for command in self.commands:
            link = self.bin / command
            if link.is_symlink() and self.link in link.readlink().parents:
                link.unlink()
        self.link.unlink(missing_ok=True)
        for path in self.all:
            shutil.rmtree(path, ignore_errors=True)
        if self.base.is_dir() and not any(self.base.iterdir()):
            self.base.rmdir()


AGENT = Program("agent", "secure", ("fedge-agent",))
SERVER = Program("server", "aggregator", ("fedge-aggregator", "fedge"))


def requirement(wheel: Path | None, extra: str) -> str:
    """Return the requirement for pip: this wheel, or the source of the running installation.

    Raises:
        DeploymentError: there is no such wheel.
    """
    if wheel is None:
        wheel = _origin()
    if wheel is None:
        return f"fedge[{extra}]=={__version__}"
    if not wheel.exists():
        raise DeploymentError(f"{wheel}: there is no such file")
    return f"fedge[{extra}] @ {wheel.resolve().as_uri()}"


def _origin() -> Path | None:
    """Return the wheel or folder of which this installation was made (PEP 610), if it is still there."""
    try:
        text = importlib.metadata.distribution("fedge").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    url = urlsplit(json.loads(text)["url"]) if text else urlsplit("")
    path = Path(unquote(url.path))
    return path if url.scheme == "file" and path.exists() else None


def _point(link: Path, target: Path) -> None:
    """Make a symbolic link, or redirect an existing one, in one step.

    Raises:
        DeploymentError: there is a file in its place that is not a link.
    """
    if link.exists() and not link.is_symlink():
        raise DeploymentError(f"{link}: is not a link made by Fedge; move it away")
    point(link, target)
