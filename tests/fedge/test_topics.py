"""Topics and addresses are exact inverses, and nothing else is a topic of ours."""

import doctest
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.wire import topics
from fedge.wire.topics import DEVICE_ID, FEDERATION, Address, Topics, lane_of, parse

federations = st.from_regex(FEDERATION, fullmatch=True)
ids = st.from_regex(DEVICE_ID, fullmatch=True)
slots = st.integers(0, 1)
frame_numbers = st.integers(0, 4_095)


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT 5, section 4.7: `+` stands for one level."""
    return re.fullmatch(topic_filter.replace("+", "[^/]*"), topic) is not None


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(topics) == (0, 13)


@given(federations, ids, slots, frame_numbers)
def test_every_topic_is_read_back(federation: str, device: str, slot: int, i: int) -> None:
    fleet = Topics(federation)
    expected = {
        fleet.round: Address("round", federation),
        fleet.export: Address("export", federation),
        fleet.service: Address("service", federation),
        fleet.task(slot, i): Address("task", federation, slot=slot, i=i),
        fleet.model(slot, i): Address("model", federation, slot=slot, i=i),
        fleet.export_frame(slot, i): Address("export", federation, slot=slot, i=i),
        fleet.update(device): Address("update", federation, device=device),
        fleet.receipt(device): Address("receipt", federation, device=device),
        fleet.status(device): Address("status", federation, device=device),
        fleet.provision(device, "request"): Address(
            "provision", federation, petitioner=device, side="request"
        ),
        fleet.provision(device, "answer"): Address("provision", federation, petitioner=device, side="answer"),
    }
    assert len(expected) == 11
    for topic, address in expected.items():
        assert parse(topic) == fleet.parse(topic) == address
        assert topic.count("/") <= 7


@given(federations, ids, slots, frame_numbers)
def test_filters_match_their_own_topics_only(federation: str, device: str, slot: int, i: int) -> None:
    fleet = Topics(federation)
    wanted = {
        fleet.all_updates: fleet.update(device),
        fleet.all_statuses: fleet.status(device),
        fleet.task_frames(slot): fleet.task(slot, i),
        fleet.model_frames(slot): fleet.model(slot, i),
        fleet.all_provision_requests: fleet.provision(device, "request"),
    }
    for topic_filter in wanted:
        matched = [topic for topic in wanted.values() if matches(topic_filter, topic)]
        assert matched == [wanted[topic_filter]]
    assert not matches(fleet.model_frames(1 - slot), fleet.model(slot, i))
    assert not matches(fleet.all_provision_requests, fleet.provision(device, "answer"))
    assert matches(fleet.all_statuses, f"fedge/v2/{federation}/status/{device}")


def test_a_status_of_another_version_is_seen_as_such() -> None:
    assert parse("fedge/v2/greenhouse/status/pi-1") == Address(
        "status", "greenhouse", device="pi-1", version="v2"
    )
    assert parse("fedge/v2/greenhouse/receipt/pi-1") is None


def test_another_federation_is_not_ours() -> None:
    assert Topics("greenhouse").parse(Topics("harbour").status("pi-1")) is None


def test_the_lane_is_the_first_byte_of_the_hash() -> None:
    """SHA-256 of `a` begins ca978112 (FIPS 180-4's algorithm; as `printf a | sha256sum` prints it)."""
    assert lane_of("a") == 0xCA
    assert Topics("f").update("a") == "fedge/v1/f/update/ca/a"


BAD_IDS = ["", "+", "#", "a/b", "a+", "a#", "Pi", "-pi", "pi_1", "pi 1", "pi\n", "\npi", "ü", "a" * 37, "a\0"]


@pytest.mark.parametrize("name", BAD_IDS)
def test_fault_64_ids_that_mean_something_in_a_topic_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s)federation id {re.escape(repr(name))}"):
        Topics(name)
    fleet = Topics("greenhouse")
    for build in (fleet.update, fleet.receipt, fleet.status):
        with pytest.raises(ValueError, match=rf"(?s)device id {re.escape(repr(name))}.* 36 "):
            build(name)
    with pytest.raises(ValueError, match=rf"(?s)petitioner id {re.escape(repr(name))}.* 36 "):
        fleet.provision(name, "request")
    assert parse(f"fedge/v1/greenhouse/status/{name}") is None
    assert parse(f"fedge/v1/{name}/round") is None


def test_a_uuid_names_a_device_and_no_federation() -> None:
    name = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    fleet = Topics("greenhouse")
    for topic in (fleet.update(name), fleet.receipt(name), fleet.status(name)):
        address = parse(topic)
        assert address is not None
        assert address.device == name
    with pytest.raises(ValueError, match=r"federation id 'f{32}'.* 31 "):
        Topics("f" * 32)
    assert Topics("f" * 31).parse(f"fedge/v1/{'f' * 31}/round") is not None
    assert parse(f"fedge/v1/{'f' * 32}/round") is None


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "fedge/v1/greenhouse",
        "fedge/v1/greenhouse/round/",
        "fedge/v1/greenhouse/round\n",
        "Fedge/v1/greenhouse/round",
        "$SYS/broker/version",
        "fedge/v0/greenhouse/status/pi-1",
        "fedge/v01/greenhouse/status/pi-1",
        "fedge/v1/greenhouse/rounds",
        "fedge/v1/greenhouse/service/pi-1",
        "fedge/v1/greenhouse/task/0",
        "fedge/v1/greenhouse/task/0/-1",
        "fedge/v1/greenhouse/task/0/1/2",
        "fedge/v1/greenhouse/task/0/10000",
        "fedge/v1/greenhouse/task/0/٣",
        "fedge/v1/greenhouse/update/CA/a",
        "fedge/v1/greenhouse/update/cb/a",
        "fedge/v1/greenhouse/update/ca",
        "fedge/v1/greenhouse/update/+/+",
        "fedge/v1/greenhouse/provision/pi-1",
        "fedge/v1/greenhouse/provision/+/request",
        "fedge/v1/greenhouse/provision/pi-1/requests",
        "fedge/v1/greenhouse/provision/pi-1/request/1",
        "fedge/v2/greenhouse/provision/pi-1/request",
        "fedge/v1/greenhouse/#",
    ],
)
def test_what_is_not_a_topic_of_ours(topic: str) -> None:
    assert parse(topic) is None


@given(st.text())
def test_any_text_is_read_or_not_but_never_raises(text: str) -> None:
    assert parse(text) is None
    parse(f"fedge/v1/greenhouse/{text}")


@pytest.mark.parametrize(("slot", "i"), [(2, 0), (-1, 0), (0, -1), (0, 10_000)])
def test_slots_and_frames_that_no_topic_holds(slot: int, i: int) -> None:
    with pytest.raises(ValueError, match="slot" if slot not in (0, 1) else "frame"):
        Topics("greenhouse").model(slot, i)
    if i == 0:
        with pytest.raises(ValueError, match="slot"):
            Topics("greenhouse").task_frames(slot)
