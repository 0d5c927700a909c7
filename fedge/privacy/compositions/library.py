"""Google's dp-accounting, the extra `privacy`; only this folder knows it."""

from typing import Any

from fedge.errors import ConfigError


def dp_accounting() -> Any:
    """The package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import dp_accounting as found
        import dp_accounting.pld
        import dp_accounting.rdp
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"privacy accounting needs the extra 'privacy' ({error.name} is missing): "
            "pip install 'fedge[privacy]'"
        ) from None
    return found
