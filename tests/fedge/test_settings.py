"""Settings, right and wrong: every error names the file or variable, the key, and what would be right."""

import os
import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field

from fedge.errors import ConfigError
from fedge.service.settings import BrokerSettings, FileSettings, LocalPath, Section
from tests.wording import assert_tells


class Circle(Section):
    kind: Literal["circle"]
    radius: float = Field(default=1.0, gt=0)
    """How far the edge is from the centre."""


class Square(Section):
    kind: Literal["square"]
    side: float


class Drawing(FileSettings):
    ENV_PREFIX: ClassVar[str] = "DRAW_"

    title: str = Field(pattern="^[a-z]+$")
    """What stands below the drawing."""
    folder: LocalPath = Path("out")
    shape: Annotated[Circle | Square, Field(discriminator="kind")] = Circle(kind="circle")
    parts: tuple[Annotated[Circle | Square, Field(discriminator="kind")], ...] = ()
    broker: BrokerSettings = Field(default_factory=BrokerSettings)


def load(folder: Path, text: str, environment: dict[str, str] | None = None) -> Drawing:
    file = folder / "drawing.toml"
    file.write_text(text, encoding="utf-8")
    return Drawing.load(file, environment or {})


def test_reads_a_file_and_resolves_paths_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    drawing = load(tmp_path, 'title = "a"\nfolder = "sub/dir"\n')
    assert drawing.folder == tmp_path.resolve() / "sub/dir"
    assert load(tmp_path, 'title = "a"').folder == tmp_path.resolve() / "out", "defaults too"
    assert load(tmp_path, 'title = "a"\nfolder = "/abs"').folder == Path("/abs")
    assert load(tmp_path, 'title = "a"', {"DRAW_FOLDER": "x"}).folder == tmp_path.resolve() / "x"


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    assert load(tmp_path, '\ufefftitle = "a"').title == "a"


def test_the_environment_wins_key_by_key(tmp_path: Path) -> None:
    text = 'title = "a"\nshape = {kind = "circle", radius = 2}\n[broker]\nkeepalive_s = 10'
    variables = {
        "DRAW_SHAPE__RADIUS": "3.5",
        "draw_title": "b",
        "DRAW_BROKER__URL": "mqtt://localhost:7",
        "PATH": "x",
    }
    drawing = load(tmp_path, text, variables)
    assert drawing.shape == Circle(kind="circle", radius=3.5)
    assert (drawing.title, drawing.broker.port, drawing.broker.keepalive_s) == ("b", 7, 10)
    assert load(tmp_path, text, {"DRAW_TITLE": ""}).title == "a", "an empty variable counts as unset"
    parts = load(tmp_path, text, {"DRAW_PARTS": '[{"kind": "square", "side": 2}]'}).parts
    assert parts == (Square(kind="square", side=2.0),)


def test_the_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAW_TITLE", "fromenv")
    (tmp_path / "drawing.toml").write_text('title = "a"')
    assert Drawing.load(tmp_path / "drawing.toml").title == "fromenv"


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path, 'title = "a"').title = "b"  # type: ignore[misc]


TITLE_TOLD, RADIUS_TOLD = "What stands below the drawing.", "How far the edge is from the centre."

BROKEN = {
    "not toml": ("title = \nx = 1", {}, ["drawing.toml: ", "TOML", "line 1"]),
    "missing key": ("", {}, ["drawing.toml: title: ", "missing", TITLE_TOLD]),
    "wrong type": (
        "title = 3",
        {},
        ["drawing.toml: title: ", "string", "3", TITLE_TOLD],
    ),
    "pattern": ('title = "A"', {}, ["title: ", "^[a-z]+$", "'A'", TITLE_TOLD]),
    "misspelt key": ('titel = "a"', {}, ["drawing.toml: titel: ", "'title'"]),
    "unknown key": (
        'title = "a"\nzzz = 1',
        {},
        ["zzz: ", "title, folder, shape, parts, broker"],
    ),
    "underscored key": ('title = "a"\n_env_file = "x"', {}, ["_env_file: "]),
    "misspelt key of a table": (
        'title = "a"\n[broker]\nulr = "x"',
        {},
        ["[broker] ulr: ", "'url'", "url, "],
    ),
    "value for a table": (
        'title = "a"\nbroker = "mqtt://x"',
        {},
        ["[broker]: ", "[broker]", "'mqtt://x'"],
    ),
    "union without a tag": (
        'title = "a"\n[shape]\nradius = 1',
        {},
        ["[shape] kind: ", "missing", "circle, square"],
    ),
    "union with a wrong tag": (
        'title = "a"\n[shape]\nkind = "disc"',
        {},
        ["[shape] kind: ", "'disc'", "circle, square"],
    ),
    "bad key of a union": (
        'title = "a"\n[shape]\nkind = "circle"\nradius = -1',
        {},
        ["[shape] radius: ", "0", "-1", RADIUS_TOLD],
    ),
    "missing key of a union": ('title = "a"\n[shape]\nkind = "square"', {}, ["[shape] side: ", "missing"]),
    "foreign key of a union": (
        'title = "a"\n[shape]\nkind = "square"\nside = 1\nradius = 1',
        {},
        ["[shape] radius: ", "kind, side"],
    ),
    "bad key within a list": (
        'title = "a"\n[[parts]]\nkind = "circle"\n[[parts]]\nkind = "square"\nside = "x"',
        {},
        ["[parts[1]] side: ", "number", "'x'"],
    ),
    "bad variable": (
        'title = "a"',
        {"DRAW_BROKER__KEEPALIVE_S": "1"},
        ["environment variable DRAW_BROKER__KEEPALIVE_S: ", "5", "'1'"],
    ),
    "misspelt variable": (
        'title = "a"',
        {"DRAW_BROKRE__URL": "x"},
        ["environment variable DRAW_BROKRE__URL: ", "'broker'"],
    ),
    "misspelt key in a variable": (
        'title = "a"',
        {"DRAW_BROKER__ULR": "x"},
        ["environment variable DRAW_BROKER__ULR: ", "'url'"],
    ),
    "variable that is no JSON": (
        'title = "a"',
        {"DRAW_PARTS": "[{]"},
        ["environment variable DRAW_PARTS: ", "JSON"],
    ),
    "url of a variable": (
        'title = "a"',
        {"DRAW_BROKER__URL": "x"},
        ["environment variable DRAW_BROKER__URL: ", "'x'"],
    ),
    "home of nobody": (
        'title = "a"\nfolder = "~nobody-has-this-name/x"',
        {},
        ["drawing.toml: folder: "],
    ),
    "nul in a path": ('title = "a"\nfolder = "a\\u0000b"', {}, ["drawing.toml: folder: "]),
}


@pytest.mark.parametrize(("text", "environment", "fragments"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_settings_are_explained(
    tmp_path: Path, text: str, environment: dict[str, str], fragments: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, environment)
    assert_tells(str(caught.value), *fragments)
    assert caught.value.exit_code == 78


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, 'titel = "a"\nshape = {kind = "square"}', {"DRAW_BROKER__KEEPALIVE_S": "x"})
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert sum(line.startswith(str(tmp_path / "drawing.toml")) for line in lines) == 3


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: .*examples/"):
        Drawing.load(tmp_path / "no.toml")
    with pytest.raises(ConfigError, match=f"{re.escape(str(tmp_path))}: .*Is a directory"):
        Drawing.load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# a\ntitle = '\xe9'")
    with pytest.raises(ConfigError, match=r"latin\.toml: line 2: .*UTF-8"):
        Drawing.load(tmp_path / "latin.toml")


BROKERS = {
    "default": ("", ("127.0.0.1", 1883, False)),
    "port": ('url = "mqtt://localhost:18830"', ("localhost", 18830, False)),
    "trailing slash": ('url = "mqtt://localhost/"', ("localhost", 1883, False)),
    "ipv6": ('url = "mqtt://[::1]:7"', ("::1", 7, False)),
    "tls": ('url = "mqtts://broker.example.org"', ("broker.example.org", 8883, True)),
    "plaintext, accepted": ('url = "mqtt://broker.lan"\ninsecure = true', ("broker.lan", 1883, False)),
}


@pytest.mark.parametrize(("text", "expected"), BROKERS.values(), ids=BROKERS.keys())
def test_broker_addresses(tmp_path: Path, text: str, expected: tuple[str, int, bool]) -> None:
    broker = load(tmp_path, f'title = "a"\n[broker]\n{text}').broker
    assert (broker.host, broker.port, broker.tls) == expected


BROKEN_BROKERS = {
    "scheme": (
        'url = "http://localhost"',
        "url: 'http://localhost' is not a broker's address; expected mqtt://host",
    ),
    "no scheme": ('url = "localhost:1883"', "url: 'localhost:1883' is not a broker's address"),
    "no host": ('url = "mqtt://"', "url: 'mqtt://' is not a broker's address"),
    "spaces": ('url = "mqtt://my host"', "url: 'mqtt://my host' is not a broker's address"),
    "port 0": ('url = "mqtt://localhost:0"', "url: 'mqtt://localhost:0' is not a broker's address"),
    "port too large": ('url = "mqtt://localhost:99999"', "url: not an address (Port out of range"),
    "port text": ('url = "mqtt://localhost:x"', "url: "),
    "bracket": ('url = "mqtt://[::1"', "url: "),
    "path": ('url = "mqtt://localhost/topic"', "url: 'mqtt://localhost/topic'"),
    "fragment": ('url = "mqtt://localhost#x"', "url: 'mqtt://localhost#x'"),
    "password": (
        'url = "mqtt://anna:hunter2@localhost"',
        "url: ",
        "username",
        "password_file",
    ),
    "plaintext": (
        'url = "mqtt://10.0.0.7"',
        "url: ",
        "10.0.0.7",
        "mqtts://",
    ),
    "keepalive": ("keepalive_s = 1", "keepalive_s: ", "5", "1"),
    "ca without tls": ('ca = "drawing.toml"', "ca: ", "mqtts://"),
    "ca that is not there": (
        'url = "mqtts://h"\nca = "no.pem"',
        "ca: ",
        "{folder}/no.pem: No such file",
    ),
    "ca that is a folder": (
        'url = "mqtts://h"\nca = "."',
        "ca: ",
        "{folder}: Is a directory",
    ),
    "certificate without key": (
        'url = "mqtts://h"\ncertificate = "drawing.toml"',
        "key: ",
        "missing",
        "certificate",
    ),
    "key without certificate": (
        'url = "mqtts://h"\nkey = "drawing.toml"',
        "certificate: ",
        "missing",
        "key",
    ),
    "password without name": (
        'password_file = "drawing.toml"',
        "username: ",
        "missing",
        "password_file",
    ),
    "password in the file": ('password = "hunter2"', "password: ", "'password_file'"),
}


@pytest.mark.parametrize(
    ("text", "facts"), [(text, facts) for text, *facts in BROKEN_BROKERS.values()], ids=BROKEN_BROKERS
)
def test_broken_brokers_are_explained(tmp_path: Path, text: str, facts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f'title = "a"\n[broker]\n{text}')
    key, *others = (fact.format(folder=tmp_path.resolve()) for fact in facts)
    assert str(caught.value).startswith(f"{tmp_path / 'drawing.toml'}: [broker] {key}")
    assert_tells(str(caught.value).partition(key)[2], *others)
    assert "hunter2" not in str(caught.value), "no secret in a message"


def broker_with_password(folder: Path, content: bytes) -> BrokerSettings:
    (folder / "secret").write_bytes(content)
    return load(folder, 'title = "a"\n[broker]\nusername = "u"\npassword_file = "secret"').broker


def test_the_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    assert BrokerSettings().password is None
    assert broker_with_password(tmp_path, "  pä ss \r\nmore\n".encode()).password == "  pä ss "
    assert broker_with_password(tmp_path, b"only").password == "only"


def test_a_password_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"secret: .*empty"):
        _ = broker_with_password(tmp_path, b"\nx").password
    with pytest.raises(ConfigError, match=r"secret: .*UTF-8"):
        _ = broker_with_password(tmp_path, b"\xff\n").password
    broker = broker_with_password(tmp_path, b"x")
    os.unlink(tmp_path / "secret")  # noqa: PTH108
    with pytest.raises(ConfigError, match=r"secret: .*No such file"):
        _ = broker.password
