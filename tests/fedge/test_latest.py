"""A result is remembered for the very same arguments alone."""

from types import SimpleNamespace

from fedge.latest import latest, latest_of


def test_another_object_or_another_number_of_arguments_is_computed_anew() -> None:
    seen: list[tuple[object, ...]] = []

    def make(*of: object) -> int:
        seen.append(of)
        return len(seen)

    made, a, b = latest(make), [1], [1]
    assert [made(a), made(a), made(b), made(b, a), made(b)] == [1, 1, 2, 3, 4]
    assert len(seen) == 4


def test_of_one_object_the_named_attributes_decide() -> None:
    made = latest_of("a", "b")(lambda state: [*state.a, *state.b])
    a, b = [1], [2]
    first = made(SimpleNamespace(a=a, b=b, c=3))
    assert made(SimpleNamespace(a=a, b=b, c=4)) is first
    assert made(SimpleNamespace(a=a, b=[2], c=3)) is not first
    assert made(SimpleNamespace(a=a, b=[5], c=3)) == [1, 5]
