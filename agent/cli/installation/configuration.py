"""The configuration of an installed device. It is made once, and another device's never replaces it."""

import hashlib
from pathlib import Path

from agent.cli.installation.source import Claim, identity_of
from fedge.deployment import units
from fedge.deployment.machine import run, say
from fedge.errors import ConfigError, DataError, DeploymentError
from fedge.identity import bundle
from fedge.storage.atomic_files import make_folder
from fedge.storage.files import read_file

CONFIGURATIONS = Path("/etc/fedge/agents")


KEPT_DIGEST = ".installed"
"""The file that records the bundle of the files beside it. The same bundle must not undo a renewal."""


def refuse_another(folder: Path, federation: str, device: str) -> None:
    """Refuse a folder of another device. Its key would be lost, and `agent.toml` would name that device.

    Raises:
        ConfigError: the folder belongs to another device or federation, or does not say to which one.
    """
    try:
        installed = identity_of(read_file(folder / bundle.AGENT), folder)
    except FileNotFoundError:
        return
    if installed != (federation, device):
        raise ConfigError(
            f"{folder}: device {installed[1]!r} of federation {installed[0]!r} is installed there, not "
            f"device {device!r} of federation {federation!r}; use the bundle or --device of the installed "
            f"one, or remove it and its key: fedge-agent uninstall {folder.name} --purge"
        )


def configure(folder: Path, files: dict[str, bytes]) -> bool:
    """Write the configuration; return whether it changed.

    The same bundle as before restores only missing files, so what the owner has edited or a renewal has
    replaced stays. Another bundle replaces identity and trust, but an existing `agent.toml` stays.
    """
    digest = hashlib.sha256(files[bundle.IDENTITY] + files[bundle.CA]).hexdigest().encode()
    mark = folder / KEPT_DIGEST
    same = mark.is_file() and read_file(mark) == digest
    kept = {name for name in files if (same or name == bundle.AGENT) and (folder / name).exists()}
    if same and kept == files.keys():
        say(f"{folder} is unchanged")
        return False
    say(f"write {folder}")
    make_folder(folder, mode=0o755)
    for name in sorted(files.keys() - kept):
        units.place(folder / name, files[name], 0o600 if name in bundle.SECRETS else 0o644)
    units.place(mark, digest)
    return True


def join(environment: Path, folder: Path, claim: Claim) -> bool:
    """Get an identity with the token, unless there is one; return whether this call got one."""
    if (folder / bundle.IDENTITY).exists():
        say(f"{folder} is unchanged: it has an identity")
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


def check(environment: Path, folder: Path) -> None:
    """Let the new program check the configuration and the data. Unusable data are only reported.

    Raises:
        DeploymentError: the configuration is wrong, or the program does not run.
    """
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
        say(f"the data cannot be used yet; until then the device declines every round: {reason}")


def installed_federations() -> list[str]:
    """Return the names of the federations for which an agent is installed on this machine."""
    return sorted(path.name for path in CONFIGURATIONS.glob("*") if path.is_dir())
