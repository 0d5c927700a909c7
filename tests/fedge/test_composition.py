"""What cannot be combined is refused with both keys, and with what would work instead."""

import json
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, get_args

import pytest

from aggregator.core.part_compatibility import incompatibility
from aggregator.core.parts import Part, Parts
from fedge import Algorithm, ConfigError, Plan, simulate
from fedge.algorithms.codecs.float32 import Float32
from fedge.algorithms.composition import KINDS, NAME_KEYS, TABLES, Choice, Composition, mended, unfit, unmet
from fedge.algorithms.local.sgd import Sgd
from fedge.algorithms.registry import REGISTRIES, Entry, Need, Options, registered
from fedge.algorithms.rules.mean import Mean
from fedge.algorithms.server.average import Average
from tests.fleet.library.fleets import CLASSIFIER, fleet
from tests.wording import assert_tells, telling

OTHER_VALUES = {"momentum": 0.9, "weight_decay": 0.1, "max_gradient": 1.0, "learning_rate": 0.25, "epochs": 7}
"""A value of a plan's field that no part needs."""


class SumOptions(Options):
    by: Literal["size", "device"] = "size"
    level: int = 1


class Sum(Mean):
    version: ClassVar[str] = "toy-sum/1"

    def __init__(self, options: SumOptions) -> None:
        super().__init__()


EVEN = Need("rule", ("toy-sum",), (("by", "device"),), "each device counts the same")
STILL = Need("plan", (), (("momentum", 0.0),), "it corrects each step")
SUM = Entry("rule", "toy-sum", Sum, SumOptions)
EVENLY = Entry("local", "toy-evenly", Sgd, needs=(EVEN, STILL))
PAIRED = Entry("local", "toy-paired", Sgd, needs=(Need("server", ("toy-pair",)),))
PAIR = Entry("server", "toy-pair", Average, needs=(Need("local", ("toy-paired",), (), "it is its half"),))
LONELY = Entry("local", "toy-lonely", Sgd, needs=(Need("rule", ("toy-absent",), (), "it sends parts"),))
DEEP = Entry("local", "toy-deep", Sgd, needs=(Need("rule", ("toy-sum",), (("level", 3),)),))
LINEAR = Entry("codec", "toy-linear", Float32, needs=(Need("rule", ("mean",), (), "its sum is linear"),))


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    with registered(SUM, EVENLY, PAIRED, PAIR, LONELY, DEEP, LINEAR):
        yield


def with_parts(plan: Plan | None = None, **parts: str | Choice) -> Composition:
    found = Composition.usual()
    for kind, part in parts.items():
        found = found.having(kind, part if isinstance(part, Choice) else Choice.of(kind, part))
    return Composition(plan or Plan(), found.parts)


def refusal(composition: Composition) -> str:
    text = unfit(composition)
    assert text is not None
    return text


def test_the_default_is_fit() -> None:
    assert unfit(Composition.usual()) is None


def test_another_name_is_needed() -> None:
    text = refusal(with_parts(local="toy-evenly"))
    both = '[plan] local = "toy-evenly"', '[rule] name = "mean"', "each device counts the same"
    assert_tells(text, *both, '[rule] name = "toy-sum" and [rule] by = "device"')
    assert_tells(text, "[plan] local to", '"sgd"')
    for other in ("toy-lonely", "toy-paired", "toy-deep"):
        assert f'"{other}"' not in text, "these do not work either"


def test_an_option_is_compared_with_its_default_filled_in() -> None:
    text = refusal(with_parts(local="toy-evenly", rule="toy-sum"))
    assert_tells(text, '[plan] local = "toy-evenly"', '[rule] by = "size"', 'Set [rule] by = "device"')
    assert "name =" not in text
    assert unfit(with_parts(local="toy-evenly", rule=Choice.of("rule", "toy-sum", {"by": "device"}))) is None


def test_the_other_options_of_a_part_stay() -> None:
    given = Choice.of("rule", "toy-sum", {"level": 5})
    found = next(mended(with_parts(local="toy-evenly", rule=given), frozenset({"local"})))
    assert found.parts["rule"].options == {"by": "device", "level": 5}
    assert_tells(refusal(with_parts(local="toy-deep", rule=given)), "[rule] level = 5", "[rule] level = 3")


def test_a_field_of_the_plan_is_needed() -> None:
    even = Choice.of("rule", "toy-sum", {"by": "device"})
    text = refusal(with_parts(Plan(momentum=0.9), local="toy-evenly", rule=even))
    assert_tells(
        text,
        '[plan] local = "toy-evenly"',
        "[plan] momentum = 0.9",
        "it corrects each step",
        "momentum = 0.0",
    )


def test_all_that_has_to_change_is_told_at_once() -> None:
    text = refusal(with_parts(Plan(momentum=0.9), local="toy-evenly"))
    assert_tells(text, "Set", "[plan] momentum = 0.0", '[rule] name = "toy-sum"', '[rule] by = "device"')


def test_two_parts_may_need_each_other() -> None:
    assert unfit(with_parts(local="toy-paired", server="toy-pair")) is None
    text = refusal(with_parts(local="toy-paired"))
    assert_tells(text, '[plan] local = "toy-paired"', '[server] name = "average"', 'name = "toy-pair"')
    text = refusal(with_parts(server="toy-pair"))
    assert_tells(text, '[server] name = "toy-pair"', '[plan] local = "sgd"', "half", 'local = "toy-paired"')


def test_if_no_choice_works_the_other_parts_of_its_kind_are_told() -> None:
    """The codec needs `mean` and the local algorithm another rule: whatever is set, one of them has to go."""
    text = refusal(with_parts(local="toy-evenly", codec="toy-linear"))
    assert_tells(text, '[plan] local = "toy-evenly"', '[rule] name = "mean"', "Set [plan] local to", '"sgd"')
    assert "[rule] name" not in text.partition("Set")[2]


def test_a_part_that_is_not_installed_is_named() -> None:
    text = refusal(with_parts(local="toy-lonely"))
    assert_tells(
        text, '[plan] local = "toy-lonely"', '[rule] name = "mean"', 'name = "toy-absent"', "not installed"
    )
    assert_tells(text, "extensions", '"sgd"')


def needs() -> list[Any]:
    found = []
    for kind in KINDS:
        for entry in REGISTRIES[kind].entries().values():
            for number, need in enumerate(entry.needs):
                wanted = [*(["name"] if need.names else []), *(option for option, _ in need.options)]
                found += [
                    pytest.param(entry, need, what, id=f"{entry.name}-{number}-{what}") for what in wanted
                ]
    with registered(SUM, EVENLY):
        found += [pytest.param(EVENLY, EVEN, what, id=f"toy-{what}") for what in ("name", "by")]
    return [*found, pytest.param(EVENLY, STILL, "momentum", id="toy-momentum")]


def otherwise(entry: Entry[Any], need: Need, what: str) -> tuple[Composition, str]:
    """The composition in which this alone is not as needed, and the key that is wrong."""
    whole = next(mended(with_parts(**{entry.kind: entry.name}), frozenset({entry.kind})))
    if need.kind == "plan":
        value = OTHER_VALUES[what]
        assert value != dict(need.options)[what]
        plan = whole.plan.model_copy(update={what: value})
        return Composition(plan, whole.parts), f"[plan] {what} = {value}"
    if what == "name":
        entries = REGISTRIES[need.kind].entries()
        others = sorted(entries.keys() - set(need.names), key=lambda name: (len(entries[name].needs), name))
        name = others[0]
        key = f'[{TABLES[need.kind]}] {NAME_KEYS[need.kind]} = "{name}"'
        return whole.having(need.kind, Choice.of(need.kind, name)), key
    choice, wanted = whole.parts[need.kind], dict(need.options)[what]
    allowed = REGISTRIES[need.kind].entries()[choice.name].options.model_fields[what].annotation
    values = get_args(allowed) or ((not wanted,) if isinstance(wanted, bool) else (wanted + 1, wanted / 2))
    value = next(value for value in values if value != wanted)
    told = f'"{value}"' if isinstance(value, str) else str(value)
    changed = Choice.of(need.kind, choice.name, {**choice.options, what: value})
    return whole.having(need.kind, changed), f"{what} = {told}"


@pytest.mark.parametrize(("entry", "need", "what"), needs())
def test_every_need_of_every_part_is_refused_with_both_keys(entry: Entry[Any], need: Need, what: str) -> None:
    composition, wrong = otherwise(entry, need, what)
    assert any(each.need is need for each in unmet(composition))
    broken = [each.need for each in unmet(composition)]
    text = refusal(composition)
    if broken[0] is need:
        assert_tells(
            text, f'[{TABLES[entry.kind]}] {NAME_KEYS[entry.kind]} = "{entry.name}"', wrong, need.why
        )
    else:  # the other part needs this one: `server = "dyn"` is refused for its own need
        assert wrong in text
        assert broken[0].kind != entry.kind or f'"{entry.name}"' in text
    parts = Parts(**{kind: part_of(choice) for kind, choice in composition.parts.items()})
    assert incompatibility(parts, 10, composition.plan) == text, "the aggregator says the same"


def part_of(choice: Choice) -> Part:
    return Part(choice.name, json.dumps(dict(choice.options)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_says_what_exists(kind: str) -> None:
    """Needs name kinds, fields and options that there are, with values that these may have, and say why."""
    for entry in REGISTRIES[kind].entries().values():
        for need in entry.needs:
            assert hash(need) == hash(need)
            if need.kind == "plan":
                assert not need.names
                Plan(**dict(need.options))
                assert {field for field, _ in need.options} <= set(Plan.model_fields)
            else:
                assert need.kind in KINDS
                assert need.names
                for name in set(need.names) & set(REGISTRIES[need.kind].entries()):
                    Choice.of(need.kind, name, dict(need.options))


def test_a_simulation_refuses_it_too() -> None:
    algorithm = Algorithm(local=EVENLY, rule=SUM, options={"rule": {"by": "device"}})
    refused = telling(
        'simulate: [plan] local = "toy-evenly"', "[plan] momentum = 0.5", "[plan] momentum = 0.0"
    )
    with pytest.raises(ConfigError, match=refused):
        simulate(CLASSIFIER, fleet(), algorithm, plan=Plan(momentum=0.5), rounds=1)
