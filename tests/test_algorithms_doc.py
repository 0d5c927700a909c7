"""docs/algorithms.md has every part, what can be combined, and what a local algorithm costs."""

import inspect
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from aggregator.core.part_compatibility import incompatibility
from aggregator.core.parts import Part, Parts
from fedge.algorithms.composition import KINDS, Choice, Composition, mended, unfit, unmet
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import REGISTRIES, registered
from fleet.cli import algorithms
from fleet.cli.algorithms import MEASURED, SIZE, TITLES, about, page, paper
from tests.aggregator.toys import HALVES, HEAVY, MEDIAN
from tests.wording import assert_tells

PAGE = Path(__file__).parents[1] / "docs" / "algorithms.md"
LOCALS = sorted(REGISTRIES["local"].built_in())
WITHOUT_PAPER = {"float32", "none"}
CENTERED = ("clusters", "centered-clipping")
SIZES = (10, 199_210)


def section(title: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    level, at = re.search(rf"^(#+) {re.escape(title)}\n", text, re.M), None
    assert level is not None, title
    at = level.end()
    end = re.compile(rf"^#{{1,{len(level[1])}}} ", re.M).search(text, at)
    return text[at : end.start() if end else None]


def rows(title: str) -> dict[str, list[str]]:
    """The cells of the rows of the first table below a title, by the name in the first cell."""
    table = section(title).split("\n\n")
    lines = next(part for part in table if part.startswith("| ")).splitlines()[2:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0].strip("`"): row for row in cells}


def test_the_page_is_what_the_parts_say_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "a part has changed: make docs"


def test_parts_from_outside_are_not_on_it() -> None:
    before = page()
    with registered(MEDIAN, HEAVY, HALVES):
        assert page() == before


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_has_its_row_with_its_options(kind: str) -> None:
    told = rows(TITLES[kind])
    assert set(told) == set(REGISTRIES[kind].built_in())
    for name, entry in REGISTRIES[kind].built_in().items():
        for option, field in entry.options.model_fields.items():
            assert f"`{option} = {json.dumps(field.default)}`: " in told[name][2]
            assert re.search(rf"`{option} = [^`]+`: [^<]{{10}}", told[name][2]), f"{option} has no docstring"


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_says_in_one_sentence_what_it_does_and_names_its_paper(kind: str) -> None:
    for name, entry in REGISTRIES[kind].built_in().items():
        sentence, source = about(entry), paper(entry)
        assert 30 < len(sentence) < 130
        assert sentence.endswith(".")
        assert (inspect.getdoc(inspect.getmodule(entry.make)) or "").startswith(sentence)
        if name in WITHOUT_PAPER:
            assert source is None
        else:
            assert source is not None, f"{name}: its docstring has a paragraph that begins with the paper"
            assert re.search(r"\b(19|20)\d\d\b", source), source
            assert source.count('"') == 2, source


def settings(told: str) -> list[tuple[str, dict[str, Any]]]:
    """The parts in a cell, each with the options that have to be set."""
    found = re.findall(r"`([\w-]+)`( with (?:`\w+ = [^`]+`(?:, )?)+)?", told)
    return [
        (name, {key: json.loads(value) for key, value in re.findall(r"`(\w+) = ([^`]+)`", options)})
        for name, options in found
    ]


def of_plan(told: str) -> Plan:
    return Plan(**{key: json.loads(value) for key, value in re.findall(r"\[plan\] (\w+) = ([^`]+)`", told)})


@pytest.mark.parametrize("local", LOCALS)
def test_every_combination_that_the_table_allows_works(local: str) -> None:
    _, codecs, rules, servers, personals, plan = rows("What can be combined")[local]
    choices = list(itertools.product(*(settings(cell) for cell in (codecs, rules, servers, personals))))
    assert choices
    for (codec, _), rule, server, (personal, needs) in choices:
        if needs.get("server", server[0]) != server[0]:
            continue
        parts = Parts(
            Part.of(REGISTRIES["rule"], *rule),
            Part.of(REGISTRIES["server"], *server),
            Part.of(REGISTRIES["codec"], codec),
            Part.of(REGISTRIES["local"], local),
            Part.of(REGISTRIES["personal"], personal, {k: v for k, v in needs.items() if k not in KINDS}),
        )
        for size in SIZES if rule[0] == "mean" else SIZES[:1]:
            fault = incompatibility(parts, size, of_plan(plan))
            if (codec == "topk" and rule[0] != "mean") or (personal, rule[0]) == CENTERED:
                assert_tells(fault or "", "does not work with")
            elif personal == "clusters" and REGISTRIES["codec"].make(codec).init(1):
                assert_tells(fault or "", codec, "clusters", "another codec")
            else:
                assert fault is None


@pytest.mark.parametrize("local", LOCALS)
@pytest.mark.parametrize(("column", "kind"), [(1, "codec"), (2, "rule"), (3, "server"), (4, "personal")])
def test_what_the_table_leaves_out_does_not_work(local: str, column: int, kind: str) -> None:
    """Whatever the other parts and their options are: tried are all parts, with all that any need asks."""
    allowed = {name for name, _ in settings(rows("What can be combined")[local][column])}
    others = set(REGISTRIES[kind].built_in()) - allowed
    asked = [need for k in KINDS for entry in REGISTRIES[k].built_in().values() for need in entry.needs]
    wanted = {k: [dict(need.options) for need in asked if need.kind == k] for k in KINDS}

    def variants(of: str, names: set[str]) -> list[Choice]:
        found = [Choice.of(of, name) for name in sorted(names)]
        for name, options in itertools.product(sorted(names), wanted[of]):
            if options.keys() <= REGISTRIES[of].entries()[name].options.model_fields.keys():
                found.append(Choice.of(of, name, options))
        return found

    tried = {k: variants(k, others if k == kind else set(REGISTRIES[k].built_in())) for k in KINDS}
    tried["local"] = [Choice.of("local", local)]
    for parts in itertools.product(*(tried[k] for k in KINDS)):
        assert any(unmet(Composition(Plan(), dict(zip(KINDS, parts, strict=True)))))


def test_each_need_has_its_row_with_its_reason() -> None:
    text = section("What can be combined").partition("because")[2]
    for kind in KINDS:
        for name, entry in REGISTRIES[kind].built_in().items():
            lines = [line for line in text.splitlines() if re.match(rf"\| `\[\w+\] \w+ = \"{name}\"`", line)]
            for need in entry.needs:
                assert any(need.why in line for line in lines), (name, need)


@pytest.mark.parametrize("local", LOCALS)
def test_a_refused_momentum_or_decay_is_refused_and_another_is_not(local: str) -> None:
    columns = {"momentum": 3, "weight_decay": 4}
    for field, column in columns.items():
        refused = "refused" in rows(TITLES["local"])[local][column]
        start = Composition.usual().having("local", Choice.of("local", local))
        whole = next(mended(start, frozenset({"local"})))
        changed = Composition(Plan(**{field: 0.5}), whole.parts)
        assert (unfit(changed) is not None) == refused, (local, field)


@pytest.mark.parametrize("local", LOCALS)
def test_the_costs_are_those_of_its_vectors_and_its_state(local: str) -> None:
    """A model is 4 bytes a weight; SCAFFOLD (Algorithm 1) moves a variate both ways and keeps one."""
    derived = {
        "sgd": (1, 1, 0),
        "prox": (1, 1, 0),
        "nova": (1, 1, 0),
        "scaffold": (2, 2, 1),
        "dyn": (1, 1, 1),
        "momentum": (1, 1, 1),
    }
    cells = rows("What a local algorithm costs a device")[local]
    assert tuple(map(float, cells[1:4])) == derived[local]
    assert cells[4:] == [f"{MEASURED[local].ram:.1f}", f"{MEASURED[local].seconds:.1f}"]


def test_state_is_told_in_models_of_four_bytes_a_weight() -> None:
    """Adam keeps two moments in float64: 8 bytes a weight each."""
    assert algorithms._state(REGISTRIES["server"].make("adam")) == "`m`: 2 × the model, `v`: 2 × the model"
    assert SIZE > 0
