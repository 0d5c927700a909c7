"""A result is remembered for the very same arguments alone."""

from fedge.latest import latest


def test_another_object_or_another_number_of_arguments_is_computed_anew() -> None:
    seen: list[tuple[object, ...]] = []

    def make(*of: object) -> int:
        seen.append(of)
        return len(seen)

    made, a, b = latest(make), [1], [1]
    assert [made(a), made(a), made(b), made(b, a), made(b)] == [1, 1, 2, 3, 4]
    assert len(seen) == 4
