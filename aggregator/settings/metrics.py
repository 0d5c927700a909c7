"""`[metrics]` of `federation.toml`."""

from typing import Annotated

from pydantic import BeforeValidator

from fedge.service.settings import Section


def _host_and_port(text: object) -> object:
    """Split `ADDRESS:PORT` into its two parts."""
    if not isinstance(text, str):
        return text
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"expected ADDRESS:PORT, as in 127.0.0.1:9464, got {text!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


class MetricsSection(Section):
    """`[metrics]`: figures for Prometheus."""

    listen: Annotated[tuple[str, int] | None, BeforeValidator(_host_and_port)] = None
    """`ADDRESS:PORT` to serve them on, without a password; default: they are not served."""
