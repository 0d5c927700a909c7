"""Texts are held to their facts and to the order of these."""

import re

import pytest

from tests.wording import assert_tells, lines_telling, telling

TEXT = "a.csv: line 3, column 'v': not a number"


@pytest.mark.parametrize("facts", [(), ("line 3",), ("line 3", "'v'"), ("a.csv", "3", "number")])
def test_what_is_told_in_this_order_is_found(facts: tuple[str, ...]) -> None:
    assert_tells(TEXT, *facts)
    assert re.search(telling(*facts), TEXT)


@pytest.mark.parametrize("facts", [("line 4",), ("'v'", "line 3"), ("3", "3")])
def test_what_is_not_told_or_elsewhere_is_missed(facts: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError):
        assert_tells(TEXT, *facts)
    assert not re.search(telling(*facts), TEXT)


def test_only_lines_that_tell_all_of_it_count() -> None:
    text = "round 1.2: pump-9\nround 1.3: pump-8\npump-9, round 1.2"
    assert lines_telling(text, "1.2", "pump-9") == ["round 1.2: pump-9"]
    assert lines_telling(text, "1.3", "pump-9") == [], "not over the end of a line"
