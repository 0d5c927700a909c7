"""Which trouble there is, and when it strikes."""

import os
import re
import signal
import socket
import subprocess
import sys
from itertools import islice

import pytest

from fedge.errors import ConfigError
from fleet.demo.broker import free_port
from fleet.demo.network_faults import (
    HEALTHY_S,
    PARTED_S,
    Trouble,
    episodes,
    line,
    parse,
    relay,
)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("", set()),
        ("none", set()),
        ("delay", {Trouble.DELAY}),
        ("half-open, crash", {Trouble.HALF_OPEN, Trouble.CRASH}),
        ("all", set(Trouble)),
        ("slow,all", set(Trouble)),
    ],
)
def test_kinds_are_read_from_text(text: str, kinds: set[Trouble]) -> None:
    assert parse(text) == kinds


def test_an_unknown_kind_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'dealy': .*delay, slow, partition, half-open, crash, all"):
        parse("slow,dealy")


def test_the_line_is_bad_all_the_time() -> None:
    assert line(frozenset()) == {}
    assert line(frozenset(Trouble)) == {"delay_s": 0.3, "jitter_s": 0.1, "rate_bps": 256e3}


def test_episodes_strike_again_and_again_in_both_kinds_and_are_repeatable() -> None:
    kinds = frozenset(Trouble)
    first = list(islice(episodes(kinds, seed=1), 50))
    assert first == list(islice(episodes(kinds, seed=1), 50))
    assert first != list(islice(episodes(kinds, seed=2), 50))
    assert {episode.kind for episode in first} == {Trouble.PARTITION, Trouble.HALF_OPEN}
    assert all(HEALTHY_S[0] <= episode.wait_s <= HEALTHY_S[1] for episode in first)
    parted = [episode.lasts_s for episode in first if episode.kind is Trouble.PARTITION]
    assert all(PARTED_S[0] <= lasts_s <= PARTED_S[1] for lasts_s in parted)


def test_a_line_that_is_bad_all_the_time_has_no_episodes() -> None:
    assert list(episodes({Trouble.DELAY, Trouble.SLOW, Trouble.CRASH}, seed=1)) == []


def test_it_waits_between_episodes_and_ends_when_asked_to() -> None:
    slept: list[float] = []

    def sleeps(seconds: float) -> bool:
        slept.append(seconds)
        return len(slept) < 4

    relay("127.0.0.1", [("127.0.0.1", free_port())], {Trouble.PARTITION}, 1, sleeps)
    first, second = islice(episodes({Trouble.PARTITION}, 1), 2)
    assert slept == [first.wait_s, first.lasts_s, second.wait_s, second.lasts_s]


@pytest.mark.system
def test_the_command_carries_bytes_to_the_same_port_and_ends_at_sigterm() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.2", port)) as server:
        command = [sys.executable, "-m", "fleet", "relay", "127.0.0.2"]
        arguments = ["--listen", f"127.0.0.1:{port}", "--trouble", "delay"]
        relaying = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)
        try:
            assert relaying.stderr is not None
            assert "trouble: delay" in relaying.stderr.readline()
            with socket.create_connection(("127.0.0.1", port), timeout=90) as near:
                near.sendall(b"hello")
                far, _ = server.accept()
                far.settimeout(90)
                with far:
                    assert far.recv(5) == b"hello"
            relaying.send_signal(signal.SIGTERM)
            assert relaying.wait(90) == 0
        finally:
            relaying.kill()
            relaying.communicate()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--listen", "8883"], "--listen 8883: .*ADDRESS:PORT"),
        (["--listen", "192.0.2.1:8883"], "192.0.2.1:8883: "),
        (["--listen", "127.0.0.1:8883", "--trouble", "storm"], "trouble 'storm': .*delay"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], told: str) -> None:
    command = [sys.executable, "-m", "fleet", "relay", "broker", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == os.EX_CONFIG
    assert re.search(f"fedge relay: {told}", done.stderr)
