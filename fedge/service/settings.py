"""Reads a program's settings from a TOML file and the environment, and explains what is wrong in them.

A key `url` of the table `[broker]` in `agent.toml` is overridden by the variable `FEDGE_AGENT_BROKER__URL`;
an empty variable counts as unset, and a variable that names no key is an error, like a misspelt key. A
variable is read as the type of its key: a text, a number, true or false; write a list or a table as JSON.
Relative paths, also in variables, are relative to the folder of the file, wherever the program is started.
"""

import ipaddress
import json
import logging
import os
import re
import tomllib
from collections.abc import Mapping
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedge.errors import ConfigError
from fedge.service.explain import Variables, explain
from fedge.storage.files import read_file
from fedge.wire.encoding import LEAST_PAYLOAD, MAX_PAYLOAD

log = logging.getLogger(__name__)

SCHEMES = {"mqtt": 1883, "mqtts": 8883}

_folder: ContextVar[Path] = ContextVar("folder of the configuration file being read")


def _from_folder(path: Path) -> Path:
    try:
        return (_folder.get(Path()) / path.expanduser()).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links, or ~ without a home
        raise ValueError(f"cannot be made a full path: {error}") from None


LocalPath = Annotated[Path, AfterValidator(_from_folder)]
"""A path, made absolute from the folder of the configuration file."""


class Variable(str):
    """Value of an environment variable (always a string)."""

    __slots__ = ()


def number_of(value: object) -> object:
    """Read the text of a variable as a number, for keys that accept no text. Other values stay as they are.

    >>> number_of(Variable("10")), number_of("10")
    (10, '10')
    """
    if isinstance(value, Variable):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                pass
    return value


class Section(BaseModel):
    """One table of a configuration file: unknown keys are errors, so a misspelt key is never ignored.

    The docstring below each key is its description, which error messages quote. A table's checks are made
    when one is first read: most programs read few of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)


class BrokerSettings(Section):
    """`[broker]`: where the MQTT broker is, and how to log in."""

    url: str = "mqtt://127.0.0.1:1883"
    """The broker's address: `mqtt://host[:port]`, or `mqtts://host[:port]` for TLS."""
    username: str | None = None
    """The name to log in with."""
    password_file: LocalPath | None = None
    """A file whose first line is the password, so that the configuration holds no secret."""
    ca: LocalPath | None = None
    """PEM file of the authority that signed the broker's certificate; without it the system's are trusted."""
    certificate: LocalPath | None = None
    """PEM file of our own certificate, if the broker asks for one."""
    key: LocalPath | None = None
    """PEM file of our certificate's private key."""
    insecure: bool = False
    """Allow plaintext to a broker that is not on this machine. Others can then read passwords and models."""
    keepalive_s: int = Field(default=30, ge=5, le=3600)
    """The longest silence on the connection, in seconds."""
    max_payload_bytes: int = Field(default=MAX_PAYLOAD, ge=LEAST_PAYLOAD, le=MAX_PAYLOAD)
    """The largest payload that this program publishes, in bytes; larger messages are cut into frames. A limit
    that the broker announces is kept without it. In `federation.toml` it holds for all devices too. Less than
    4,096 does not do: a status, a manifest and a receipt are not cut."""

    publishes_per_s: float | None = Field(default=None, ge=1)
    """The most messages that this program publishes in a second, for a broker that drops more; default: as
    many as the broker acknowledges."""
    bytes_per_s: float | None = Field(default=None, ge=1_000)
    """The most bytes that this program publishes in a second, with topics and headers; default: as many as
    the line carries."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_url(self.url)
        if not self.tls:
            for name in ("ca", "certificate", "key"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: is for TLS, but the url says mqtt://; use mqtts://")
            if not self.insecure and not _is_loopback(self.host):
                raise ValueError(
                    f"url: plaintext to {self.host}: passwords and models could be read on the way; "
                    "use mqtts://, or set insecure = true if you accept that"
                )
        if (self.certificate is None) != (self.key is None):
            given, lacking = ("key", "certificate") if self.certificate is None else ("certificate", "key")
            raise ValueError(f"{lacking}: is missing; {given} is given, and a certificate needs its key")
        if self.password_file is not None and self.username is None:
            raise ValueError("username: is missing; a password_file needs a username")
        for name in ("password_file", "ca", "certificate", "key"):
            path = getattr(self, name)
            try:
                if path is not None:
                    path.open("rb").close()
            except OSError as error:
                raise ValueError(f"{name}: cannot read the file {path}: {error.strerror}") from None
        return self

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def host(self) -> str:
        """The broker's host name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The broker's port: the url's, else 1883 for mqtt and 8883 for mqtts."""
        return urlsplit(self.url).port or SCHEMES[urlsplit(self.url).scheme]

    @property
    def password(self) -> str | None:
        """The first line of `password_file`, read anew at each use.

        Raises:
            ConfigError: the file cannot be read, is not UTF-8, or its first line is empty.
        """
        if self.password_file is None:
            return None
        try:
            password = self.password_file.read_text(encoding="utf-8-sig").partition("\n")[0].rstrip("\r")
        except OSError as error:
            raise ConfigError(f"{self.password_file}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{self.password_file}: the password is not UTF-8 text") from None
        if not password:
            raise ConfigError(f"{self.password_file}: the first line is empty; it must be the password")
        return password


def _check_url(url: str) -> None:
    expected = "expected mqtt://host[:port] or mqtts://host[:port]"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url: not an address ({error}); {expected}") from None
    if "@" in parts.netloc:  # not quoted back: it holds a password
        raise ValueError("url: must not hold a name and password; use the keys username and password_file")
    host = parts.hostname or ""
    more = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in SCHEMES or not is_host(host) or more or port == 0:
        raise ValueError(f"url: {url!r} is not a broker's address; {expected}")


def is_host(host: str) -> bool:
    """Whether this is only the name or address of a host: no scheme before it, no port after it."""
    return re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", host) is not None or _address(host) is not None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class FileSettings(Section):
    """The parent of a program's settings: `load` reads a TOML file, then the environment over it."""

    ENV_PREFIX: ClassVar[str]
    """The prefix of this program's variables."""
    FORMER: ClassVar[Mapping[str, str]] = {}
    """Former names of tables, which are still read, and their names today."""

    @classmethod
    def load(cls, path: Path, environment: Mapping[str, str] = os.environ) -> Self:
        """Read `path`, and the variables of `environment` that begin with `ENV_PREFIX`.

        Raises:
            ConfigError: the file is missing or not TOML, or values are wrong: one line each, with the file or
                variable, the key, and what is accepted.
        """
        content = _read(path)
        _rename(content, cls.FORMER, path)
        variables = _overlay(content, cls.ENV_PREFIX, environment, cls.FORMER)
        try:
            return copy_context().run(cls._validate, path.resolve().parent, content)
        except ValidationError as error:
            lines = [explain(cls, path, variables, detail) for detail in error.errors(include_url=False)]
            raise ConfigError("\n".join(lines)) from None

    @classmethod
    def _validate(cls, folder: Path, content: dict[str, Any]) -> Self:
        _folder.set(folder)
        return cls.model_validate(content)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_file(path).decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; examples/ has one to start from") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}: line {line}: not UTF-8; save the file as UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def _rename(content: dict[str, Any], former: Mapping[str, str], path: Path) -> None:
    """Move the tables with a former name to their name today, and tell the owner.

    Raises:
        ConfigError: there is a table of either name.
    """
    for old in former.keys() & content.keys():
        if (new := former[old]) in content:
            raise ConfigError(f"{path}: [{old}] is the former name of [{new}]; move its keys to [{new}]")
        content[new] = content.pop(old)
        log.warning("%s: [%s] is called [%s] now; rename it", path, old, new)


def _overlay(
    content: dict[str, Any], prefix: str, environment: Mapping[str, str], former: Mapping[str, str]
) -> Variables:
    """Write the values of the environment into `content`; return the variable of each overridden key.

    Raises:
        ConfigError: variables name a table by its former name and by its name today.
    """
    variables = {}
    given = {
        name: name[len(prefix) :].lower().split("__")
        for name, text in sorted(environment.items())
        if name.upper().startswith(prefix) and text
    }
    for name, (first, *others) in given.items():
        text = environment[name]
        if first in former:
            for beside, keys_beside in given.items():
                if keys_beside[0] == former[first]:
                    what = f"[{first}] is the former name of [{former[first]}]"
                    raise ConfigError(f"environment variables {name} and {beside}: {what}; keep the latter")
            told = "environment variable %s: [%s] is called [%s] now; rename it"
            log.warning(told, name, first, former[first])
        keys = (former.get(first, first), *others)
        table = content
        for key in keys[:-1]:
            if not isinstance(table.get(key), dict):
                table[key] = {}
            table = table[key]
        try:
            table[keys[-1]] = json.loads(text) if text[0] in "[{" else Variable(text)
        except ValueError as error:
            raise ConfigError(f"environment variable {name}: not valid JSON: {error}") from None
        variables[keys] = name
    return variables
