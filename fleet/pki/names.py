"""The names of devices that are enrolled together, from the command line and from a list."""

from collections.abc import Sequence

from fedge.errors import ConfigError
from fedge.identity.device_names import as_id
from fedge.identity.provisioning import may_name_a_device
from fleet.pki.identity import Identity

MOST = 100_000
"""Names in one list."""
_SHOWN = 5
"""How many errors are reported at once."""


def check_name(federation: str, device: str) -> Identity:
    """The identity of a device of this name.

    Raises:
        ConfigError: the name is not allowed for a device.
    """
    if not may_name_a_device(device):
        raise ConfigError(
            f"device {device!r}: expected 1 to 36 of a-z, 0-9 and '-', not beginning with '-', and not "
            "like a claim (claim-xxxxxxxx)"
        )
    return Identity(federation, device)


def read_list(text: str, where: str) -> list[tuple[str, str]]:
    """The names in a list, one a line, each with its place; `#` begins a comment, blank lines are ignored.

    >>> read_list("# pumps\\npump-1\\n\\npump-2  # by the door\\n", "pumps.txt")
    [('pumps.txt:2', 'pump-1'), ('pumps.txt:4', 'pump-2')]

    Args:
        text: the list.
        where: its name, for messages.

    Raises:
        ConfigError: there are too many.
    """
    lines = [line.partition("#")[0].strip() for line in text.removeprefix("\ufeff").splitlines()]
    named = [(f"{where}:{number}", line) for number, line in enumerate(lines, 1) if line]
    if len(named) > MOST:
        raise ConfigError(f"{where}: {len(named)} names; at most {MOST} are enrolled at once")
    return named


def check_names(federation: str, named: Sequence[tuple[str, str]]) -> list[Identity]:
    """The identities for names, each given with its place; every name must be there once.

    A name that is no id becomes one (`fedge.identity.device_names`); two that would become the same id are
    refused.

    Raises:
        ConfigError: there are none, or some are wrong; the text names these with their places.
    """
    if not named:
        raise ConfigError("no device is named")
    identities, faults = [], []
    first: dict[str, tuple[str, str]] = {}
    for where, name in named:
        device = as_id(name)
        try:
            identities.append(check_name(federation, device))
        except ConfigError as error:
            faults.append(f"{where}: {error}")
        before, called = first.setdefault(device, (where, name))
        if before != where:
            one = f"{name!r} becomes {device!r}, as {called!r} in {before} does: rename one of them"
            faults.append(f"{where}: {f'{name!r} is in {before} already' if called == name else one}")
    if faults:
        more = f"\nand {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise ConfigError("\n".join(faults[:_SHOWN]) + f"{more}\nnothing was enrolled")
    return identities
