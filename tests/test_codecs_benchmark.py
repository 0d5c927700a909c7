"""The benchmark of codecs measures each of the registry, and names what is too slow."""

import json
from dataclasses import replace

import pytest

from benchmarks import codecs
from benchmarks.codecs import Cost, goals, measure, report, table
from benchmarks.verdict import judged
from fedge.algorithms.registry import CODECS

WEIGHTS = 5_000


@pytest.fixture(scope="module")
def costs() -> dict[str, Cost]:
    return {cost.name: cost for cost in measure(2, WEIGHTS)}


def test_every_codec_of_the_registry_is_measured_and_both_peers(costs: dict[str, Cost]) -> None:
    assert [name for name in costs if " " not in name] == [*CODECS.names(), "memcpy"]
    assert [*costs][-2:] == ["memcpy", "zlib 1"]
    assert {"topk int4", "int8 zlib"} < costs.keys(), "another word of an option"
    assert all(cost.encode_s > 0 and cost.decode_s >= 0 for cost in costs.values())


def test_bytes_and_errors_are_those_of_the_codec(costs: dict[str, Cost]) -> None:
    """Half of float32's bytes save 8 · 10,000 bits, and take 8 ms at 10 Mbit/s. drive: π/2 - 1 = .571."""
    assert (costs["float32"].size, costs["float32"].bits, costs["float32"].error) == (4 * WEIGHTS, 32, 0)
    assert (costs["float16"].size, costs["float16"].bits) == (2 * WEIGHTS, 16)
    assert costs["float16"].saved_s(WEIGHTS) == pytest.approx(0.008)
    assert costs["drive"].error == pytest.approx(0.571, abs=0.05)
    assert costs["topk"].size > costs["topk int4"].size
    assert costs["topk"].error < 1, "of the first round, without what the rounds before left"
    assert costs["memcpy"].error == costs["zlib 1"].error == 0


def test_a_speed_is_in_bytes_of_float32() -> None:
    """4 · 250 million bytes in half a second are 2 GB/s."""
    cost = Cost("drive", size=1, bits=1.0, error=0.6, encode_s=0.5, decode_s=0.1)
    assert cost.speed(cost.encode_s, 250_000_000) == 2.0


def fast(name: str) -> Cost:
    """Far within each goal: 4 GB/s, and a quarter of the bytes."""
    return Cost(name, size=200_000, bits=8.0, error=0.0, encode_s=2e-4, decode_s=2e-4)


@pytest.mark.parametrize(("name", "gb_s"), [("int8", 0.5), ("topk", 0.2), ("drive", 0.1)])
def test_a_slow_codec_misses_its_goal(name: str, gb_s: float, capsys: pytest.CaptureFixture[str]) -> None:
    found = fast(name)
    assert all(goal.met for goal in goals([found]))
    slow = replace(found, encode_s=1.01 * 4 * codecs.WEIGHTS / (1e9 * gb_s))
    assert [goal.met for goal in goals([slow])] == [False, True]
    assert judged(report([slow]), table([slow]), goals([slow]), as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert [goal["met"] for goal in told["goals"]] == [False, True]
    assert told["codecs"][0]["name"] == name


def test_with_the_entropy_stage_a_codec_is_judged_by_the_time_of_the_line_alone() -> None:
    """Of .2 GB/s, 4 ms: `int8` alone has to reach .5. The saved bytes take .477 s at 10 Mbit/s."""
    slow = replace(fast("int8 zlib"), encode_s=4 * codecs.WEIGHTS / 0.2e9)
    assert [goal.met for goal in goals([slow])] == [True]
    assert [goal.met for goal in goals([replace(slow, name="int8")])] == [False, True]
    assert [goal.met for goal in goals([replace(slow, encode_s=0.48)])] == [False]


def test_a_codec_that_takes_longer_than_the_bytes_it_saves_misses_its_goal() -> None:
    """596,840 bytes less are .477 s at 10 Mbit/s; float32 saves none, and a peer is no codec."""
    saved_s = 8 * (4 * codecs.WEIGHTS - 200_000) / 10e6
    for seconds, met in ((0.99, True), (1.01, False)):
        found = replace(fast("float16"), encode_s=seconds * saved_s / 2, decode_s=seconds * saved_s / 2)
        assert [goal.met for goal in goals([found])] == [met]
    same = replace(fast("float32"), size=4 * codecs.WEIGHTS)
    assert goals([same, replace(fast("zlib 1"), encode_s=1e9)]) == []
