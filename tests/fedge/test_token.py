"""What a token holds, and what is none."""

import base64
import json

import pytest

from fedge.errors import ConfigError
from fedge.identity.token import PREFIX, Token

TOKEN = Token(
    federation="greenhouse",
    host="broker.example",
    port=8883,
    claim="claim-0a1b2c3d",
    secret=base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("="),
    ca="-----BEGIN CERTIFICATE-----\n",
    signing="signs",
    settings="[data]\n",
)


def test_a_token_is_one_line_and_is_read_back() -> None:
    text = TOKEN.text()
    assert text.startswith(PREFIX)
    assert text.split() == [text]
    assert Token.read(text) == TOKEN
    folded = f"  {text[:70]}\n {text[70:]}\r\n"
    assert Token.read(folded) == TOKEN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", PREFIX),
        ("fedge2." + TOKEN.text()[7:], PREFIX),
        (TOKEN.text()[:-9], "cut short"),
        (TOKEN.text()[:-1] + "ü", "cut short"),
        (PREFIX + base64.urlsafe_b64encode(b'{"port": 0}').decode(), "port"),
    ],
)
def test_what_is_no_token(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Token.read(text)
    assert TOKEN.secret not in str(caught.value)


def test_a_field_of_a_later_version_does_no_harm() -> None:
    content = json.loads(TOKEN.model_dump_json()) | {"later": 1}
    text = PREFIX + base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    assert Token.read(text) == TOKEN


def test_the_password_tells_nothing_of_the_proof() -> None:
    """Two keys of one secret: HMAC-SHA256 with different messages (RFC 2104)."""
    assert len(TOKEN.proof_key) == 32
    assert base64.urlsafe_b64decode(TOKEN.password + "=") != TOKEN.proof_key
    assert TOKEN.secret not in (TOKEN.password, TOKEN.proof_key.hex())
