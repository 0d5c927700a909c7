"""`fedge-agent install` and `uninstall`: a device's part in a federation as a service of systemd.

All that this needs is loaded at its beginning: in the end the environment that it came from may be removed.
"""

import argparse
import hashlib
import re
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from fedge import bundle
from fedge.deployment import units
from fedge.deployment.machine import require_root, run, say
from fedge.deployment.program import AGENT
from fedge.device_names import as_id
from fedge.errors import ConfigError, DataError, DeploymentError
from fedge.files import read_file
from fedge.store.atomic_files import make_folder
from fedge.topics import DEVICE_ID, FEDERATION

CONFIGURATIONS = Path("/etc/fedge/agents")
UNITS = ("fedge-agent@.service", "fedge-renew@.service", "fedge-renew@.timer")
KEPT_DIGEST = ".installed"
"""Which bundle the files beside it came from: the same one again must not undo a renewal."""


def run_install(options: argparse.Namespace) -> int:
    """`fedge-agent install`, with the options of `agent.commands`."""
    from fedge.token import PREFIX, Token

    source: Source = Path(options.source)
    if options.source == "-" or options.source.startswith(PREFIX):
        if options.device is None:
            options.misused("--device ID: is missing: what is this device to be called?")
        text = sys.stdin.read() if options.source == "-" else options.source
        source = Claim(Token.read(text).federation, options.device, text)
    install(source, options.wheel, system_site_packages=options.system_site_packages)
    return 0


def run_uninstall(options: argparse.Namespace) -> int:
    """`fedge-agent uninstall`."""
    uninstall(options.name, purge=options.purge)
    return 0


@dataclass(frozen=True)
class Claim:
    """A token that this device is to join with."""

    federation: str
    device: str
    token: str


Source = Path | Claim
"""Where a device's identity comes from: a bundle or folder, or a claim."""


def install(source: Source, wheel: Path | None, *, system_site_packages: bool = False) -> None:
    """Install or upgrade: program, configuration, units; then start, and go back if it does not.

    Running agents are started again with a new program: what they saved they go on with, and a training that
    was cut off begins again, so a round in progress loses nothing.

    Args:
        source: a bundle, a folder with the same files, or a claim: the key is then made here.
        wheel: the version to install; None: the one that runs this.
        system_site_packages: let the environment see the system's packages.

    Raises:
        ConfigError: the bundle is none, its configuration is wrong, or another device is installed there.
        DeploymentError: a step failed. What was at work before still is.
    """
    files: dict[str, bytes] = {}
    if isinstance(source, Path):
        files = read_source(source)
        name, device = identity_of(files[bundle.AGENT], source)
    else:
        name, device = source.federation, source.device
    require_root("fedge-agent install")
    folder = CONFIGURATIONS / name
    refuse_another(folder, name, device)
    with AGENT.next(wheel, system_site_packages=system_site_packages) as environment:
        changed = configure(folder, files) if isinstance(source, Path) else _join(environment, folder, source)
        _check(environment, folder)
        changed |= units.place_units(UNITS)
        before = AGENT.current
        if environment != before:
            say(f"put {environment} into use")
            AGENT.switch(environment)
        try:
            _start(name, again=changed or environment != before)
        except DeploymentError:
            if before is not None and environment != before:
                say(f"it does not start: go back to {before}")
                AGENT.switch(before)
                _start(name, again=True)
            raise
    AGENT.tidy()
    say(f"fedge-agent@{name} is running; its log: journalctl -u fedge-agent@{name}")


def read_source(source: Path) -> dict[str, bytes]:
    """The files of a bundle, or of the folder that `fedge-agent join` made.

    Raises:
        ConfigError: it is neither, or holds no identity.
    """
    try:
        if source.is_dir():
            known = sorted(bundle.REQUIRED | {bundle.IDENTITY})
            files = {name: read_file(source / name) for name in known if (source / name).is_file()}
        else:
            files = bundle.unpack(source.read_bytes())
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    if missing := sorted({bundle.AGENT, bundle.CA, bundle.IDENTITY} - files.keys()):
        hint = "; `fedge-agent join` puts a certificate to the key it made" if source.is_file() else ""
        raise ConfigError(f"{source}: {', '.join(missing)} is missing{hint}")
    return files


def identity_of(agent_toml: bytes, source: Path) -> tuple[str, str]:
    """The federation's name, which names the service, and the device's id.

    Raises:
        ConfigError: one of them is missing or not allowed.
    """
    try:
        settings = tomllib.loads(agent_toml.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: agent.toml: not valid TOML: {error}") from None
    federation, device = settings.get("federation"), settings.get("device")
    if not isinstance(federation, str) or re.fullmatch(FEDERATION, federation) is None:
        raise ConfigError(f"{source}: agent.toml: federation: {federation!r} is no federation's name")
    if not isinstance(device, str) or re.fullmatch(DEVICE_ID, as_id(device)) is None:
        raise ConfigError(f"{source}: agent.toml: device: {device!r} is no device's id")
    return federation, as_id(device)


def refuse_another(folder: Path, federation: str, device: str) -> None:
    """Let one device not take over what is another's: its key would be lost, and `agent.toml` name the other.

    Raises:
        ConfigError: the folder is of another device or federation, or does not say of which.
    """
    try:
        installed = identity_of(read_file(folder / bundle.AGENT), folder)
    except FileNotFoundError:
        return
    if installed != (federation, device):
        raise ConfigError(
            f"{folder}: device {installed[1]!r} of federation {installed[0]!r} is installed there; this is "
            f"of device {device!r} of federation {federation!r}: use the bundle or --device of the first, or "
            f"remove it with its key: fedge-agent uninstall {folder.name} --purge"
        )


def configure(folder: Path, files: dict[str, bytes]) -> bool:
    """Write the configuration; what its owner edited or a renewal replaced stays. Returns whether it changed.

    The same bundle again puts back only what is missing; another one brings its identity and trust, and
    `agent.toml` stays.
    """
    digest = hashlib.sha256(files[bundle.IDENTITY] + files[bundle.CA]).hexdigest().encode()
    mark = folder / KEPT_DIGEST
    same = mark.is_file() and read_file(mark) == digest
    kept = {name for name in files if (same or name == bundle.AGENT) and (folder / name).exists()}
    if same and kept == files.keys():
        say(f"{folder} stays as it is")
        return False
    say(f"write {folder}")
    make_folder(folder, mode=0o755)
    for name in sorted(files.keys() - kept):
        units.place(folder / name, files[name], 0o600 if name in bundle.SECRETS else 0o644)
    units.place(mark, digest)
    return True


def _join(environment: Path, folder: Path, claim: Claim) -> bool:
    """Get an identity with the token, once; returns whether it was now."""
    if (folder / bundle.IDENTITY).exists():
        say(f"{folder} stays as it is")
        return False
    say(f"join {claim.federation} as {claim.device}")
    make_folder(folder, mode=0o755)
    command: list[str | Path] = [
        environment / "bin/fedge-agent",
        "join",
        "-",
        "--device",
        claim.device,
        "--folder",
        folder,
    ]
    run(command, given=claim.token)
    return True


def _check(environment: Path, folder: Path) -> None:
    """Have the new program read the configuration and the data; data may come later."""
    command: list[str | Path] = [
        environment / "bin/fedge-agent",
        "--config",
        folder / bundle.AGENT,
        "--check",
    ]
    try:
        run(command)
    except DeploymentError as error:
        if f"exit code {DataError.exit_code}\n" not in str(error):
            raise
        reason = str(error).splitlines()[-1].strip()
        say(f"the data cannot be read yet, and no round be joined until then: {reason}")


def _start(name: str, *, again: bool) -> None:
    unit = f"fedge-agent@{name}.service"
    units.systemctl("enable", "--quiet", unit)
    running = set(units.instances("fedge-agent@.service"))
    for each in sorted(running | {unit}) if again else [unit]:
        say(f"start {each}")
        units.systemctl("restart" if again else "start", each)
    if (CONFIGURATIONS / name / bundle.RENEWAL).exists():
        units.systemctl("enable", "--quiet", "--now", f"fedge-renew@{name}.timer")


def uninstall(name: str, *, purge: bool) -> None:
    """Remove the service; with the last one the program too. Without `purge` its data stays.

    Data is what cannot be had again: the configuration with its key, and the state.

    Raises:
        ConfigError: there is no such agent.
        DeploymentError: a step failed.
    """
    require_root("fedge-agent uninstall")
    folder = CONFIGURATIONS / name
    if re.fullmatch(FEDERATION, name) is None or not folder.is_dir():
        known = ", ".join(_installed()) or "none"
        raise ConfigError(f"{name}: there is no agent of this federation here; there is: {known}")
    say(f"stop fedge-agent@{name}")
    units.retire(f"fedge-renew@{name}.timer", "state")
    units.forget_failure(f"fedge-renew@{name}.service")
    units.retire(f"fedge-agent@{name}.service", "runtime", *(["state"] if purge else []))
    if purge:
        say(f"remove {folder} and /var/lib/fedge-agent/{name}")
        shutil.rmtree(folder)
    else:
        say(f"{folder} and /var/lib/fedge-agent/{name} stay")
    if any(units.is_enabled(f"fedge-agent@{other}.service") for other in _installed()):
        return
    say(f"remove the program and its units: no other federation needs {AGENT.link}")
    units.remove_units(UNITS)
    units.remove_state_folder("fedge-agent")
    for empty in (CONFIGURATIONS, CONFIGURATIONS.parent):
        if empty.is_dir() and not any(empty.iterdir()):
            empty.rmdir()
    AGENT.remove()


def _installed() -> list[str]:
    return sorted(path.name for path in CONFIGURATIONS.glob("*") if path.is_dir())
