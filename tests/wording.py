"""What a text for people has to tell, in whichever words."""

import re


def assert_tells(text: str, *facts: str) -> None:
    """Assert that the facts (names, numbers, places, reasons) stand in the text, one after the other."""
    at = 0
    for fact in facts:
        found = text.find(fact, at)
        assert found >= 0, f"{fact!r} is not told, or not in this place: {text}"
        at = found + len(fact)


def telling(*facts: str) -> str:
    """Give a pattern for `pytest.raises(match=…)`: the facts, one after the other, in whichever words."""
    return "(?s)" + ".*".join(re.escape(fact) for fact in facts)


def lines_telling(text: str, *facts: str) -> list[str]:
    """Give the lines in which the facts stand, one after the other, in whichever words."""
    pattern = re.compile(".*".join(re.escape(fact) for fact in facts))
    return [line for line in text.splitlines() if pattern.search(line)]
