"""Names that can be read in one way only, and fit into a certificate."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.errors import ConfigError
from fedge.identity.provisioning import MAX_COMMON_NAME
from fedge.identity.provisioning import identity as device_name
from fleet.pki.identity import Identity, Role, check_common_name

IDS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}", fullmatch=True)
DEVICES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,35}", fullmatch=True)
IDENTITIES = st.one_of(
    st.tuples(IDS, DEVICES)
    .filter(lambda names: sum(map(len, names)) < MAX_COMMON_NAME)
    .map(lambda names: Identity(*names)),
    st.builds(
        lambda name, role: Identity(name, role=role), IDS, st.sampled_from(sorted(set(Role) - {"device"}))
    ),
)


@given(IDENTITIES, IDENTITIES)
def test_a_name_tells_whose_it_is(one: Identity, other: Identity) -> None:
    assert Identity.parse(one.name) == one
    assert len(one.name) <= MAX_COMMON_NAME
    assert (one.name == other.name) == (one == other)


def test_devices_are_named_as_they_name_themselves() -> None:
    assert Identity("greenhouse", "pi-1").name == device_name("greenhouse", "pi-1")


@pytest.mark.parametrize("device", ["", "Pi", "pi_1", "-pi", "a" * 37, "pi/1", "+", "#", "pi 1", "pi\n"])
def test_a_device_that_no_topic_may_name_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s){re.escape(repr(device))}.* 36 "):
        Identity("greenhouse", device)


@pytest.mark.parametrize(
    "name",
    ["f" * 28 + "_" + "d" * 36, "a_b\n", "a_b_c", "a___watch", "a__device", "a__nobody", "_b", "a_", "a", ""],
)
def test_nobody_is_called_otherwise(name: str) -> None:
    assert Identity.parse(name) is None


def test_a_name_that_no_certificate_holds_is_refused_with_what_to_do() -> None:
    assert Identity("f" * 27, "d" * 36).name == "f" * 27 + "_" + "d" * 36
    with pytest.raises(ConfigError, match=r"65 characters.* shorter name"):
        Identity("f" * 28, "d" * 36)


def test_a_common_name_has_64_characters_at_most() -> None:
    check_common_name("x" * 64)
    for name in ("x" * 65, ""):
        with pytest.raises(ConfigError, match=r"\d+ characters.* 64"):
            check_common_name(name)
