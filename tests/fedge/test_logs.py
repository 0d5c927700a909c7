"""What a record quotes is shown and never obeyed (law 6)."""

import io
import logging
import re
import sys

import pytest

from fedge.service.escapes import printable
from fedge.service.logs import tell
from fedge.wire.encoding import decode, encode
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Status

HOSTILE = "gone\n<0>kernel: panic\r\x1b[2J\x1b]0;title\x07 \x9b1m \u202egnorw\u2028end\udcff"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]")


def _logged(monkeypatch: pytest.MonkeyPatch, *, journal: bool) -> list[str]:
    """What stands on stderr after a warning that quotes it, and an error that was raised with it."""
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    if journal:
        monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    else:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        tell()
        log = logging.getLogger("fedge.test")
        log.warning("%s declines: %s", "pi-1", HOSTILE)
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            log.exception("it failed")
    finally:
        root.handlers[:], root.level = handlers, level
    return stderr.getvalue().removesuffix("\n").split("\n")


def test_for_people_a_record_is_one_line_and_commands_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _logged(monkeypatch, journal=False)
    assert all(line.startswith("    ") for line in lines[2:])  # none of a traceback looks like a record
    assert not any(OBEYED.search(line) for line in lines)
    assert re.match(r"\d\d:\d\d:\d\d WARNING pi-1 declines: gone\\n<0>kernel: panic\\r\\x1b\[2J", lines[0])
    assert re.match(r"\d\d:\d\d:\d\d ERROR   it failed", lines[1])


def test_for_the_journal_each_line_has_the_priority_of_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _logged(monkeypatch, journal=True)
    assert not any(OBEYED.search(line) for line in lines)
    assert lines[0].startswith("<4>pi-1 declines: gone\\n<0>kernel: panic")
    assert len(lines) > 3  # a traceback
    assert all(line.startswith("<3>") for line in lines[1:])


def test_what_is_printable_stays_so_and_what_was_is_not_touched() -> None:
    once = printable(HOSTILE)
    assert once.isprintable()
    assert printable(once) == once
    assert printable("Übung 12 °C → 室温 🌡 \\n") == "Übung 12 °C → 室温 🌡 \\n"


def test_a_detail_from_the_network_is_one_line_and_the_message_still_counts() -> None:
    """Of 0.2.0 too, whose details may have several lines: to refuse the status would lose the device."""
    decline = {
        "generation": 1,
        "round": 2,
        "attempt": 0,
        "reason": "bad_data",
        "detail": "line 1\nline 2\x1b[2J",
    }
    status = {
        "v": 1,
        "type": "status",
        "online": True,
        "boot": b"b" * 16,
        "connection": 1,
        "version": "0.2.0",
    }
    read = unpack(encode({**status, "declined": decline}), Status)
    assert read.declined is not None
    assert read.declined.detail == "line 1\\nline 2\\x1b[2J"
    assert unpack(pack(read), Status) == read

    receipt = Receipt(
        generation=1, round=2, update=b"u" * 32, verdict="refused", reason="malformed", detail="\n" * 500
    )
    assert receipt.detail == "\\n" * 250
    assert decode(pack(receipt))["detail"] == receipt.detail
