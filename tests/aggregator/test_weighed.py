"""How much each update counted is kept with the round, and a device that is far again and again is named."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from aggregator.aggregation.aggregate import Aggregate
from aggregator.aggregation.weighed import MOST, named, weighed
from aggregator.core.verdicts import Weighed
from aggregator.ledger.views import read_verdicts
from fedge.algorithms.codecs import float32
from fedge.algorithms.rules.bounds import Bounds
from fedge.errors import DataError
from fedge.wire.freshness import RoundId
from fleet.cli.commands import app
from tests.aggregator.parts.lab import Lab, P
from tests.aggregator.stories import update
from tests.wording import assert_tells, telling

DEVICES = tuple(f"pi-{k}" for k in range(6))
LIAR = "pi-5"
FEDAVG: dict[str, dict[str, object]] = {}


def step(device: str, number: int) -> np.ndarray:
    """A change of length 1, or of the liar one of length 4."""
    direction = np.random.default_rng([number, DEVICES.index(device)]).normal(size=P)
    return direction / np.linalg.norm(direction) * (4.0 if device == LIAR else 1.0)


def rounds(lab: Lab, count: int, devices: tuple[str, ...] = DEVICES) -> None:
    for _ in range(count):
        here = lab.state.round
        base = lab.weights(here._replace(round=here.round - 1))
        for device in devices:
            body = float32.encode((base + step(device, here.round)).astype(np.float32))
            said = update(device, here, base=lab.state.model.digest, samples=20, body=body)
            assert lab.send(device, said).verdict == "admitted"
        lab.finish()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    found = Lab(tmp_path, FEDAVG, DEVICES, quorum=3, max_norm=0)
    found.survey()
    return found


def test_of_a_mean_what_is_not_usual_is_kept(lab: Lab) -> None:
    rounds(lab, 1)
    found = lab.ledger.weighed(RoundId(1, 1))
    assert found.keys() == {LIAR}, "the others counted in full, and lie where most do"
    assert found[LIAR].counted == pytest.approx(2.5 / 4)
    assert (found[LIAR].far, found[LIAR].running) == (pytest.approx(4.0), 1)


def test_who_is_far_in_five_updates_in_a_row_is_named_and_again_after_ten(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, 11):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "fedge.aggregator"):
            if number == 4:  # it does not take part, which neither ends the row nor counts
                rounds(lab, 1, DEVICES[:5])
            rounds(lab, 1)
        lines = [text for text in caplog.messages if "again and again" in text]
        assert len(lines) == (number in (5, 10)), number
        for line in lines:
            assert_tells(line, LIAR, f"({number} updates", "`fedge quarantine`", "`fedge verdicts`")
            assert all(device not in line for device in DEVICES[:5])


def test_a_restart_goes_on_counting_and_one_update_like_the_others_ends_the_row(lab: Lab) -> None:
    rounds(lab, 2)
    lab.start(FEDAVG)
    rounds(lab, 1)
    assert lab.ledger.weighed(RoundId(1, 3))[LIAR].running == 3
    here = lab.state.round
    base = lab.weights(here._replace(round=here.round - 1))
    for device in DEVICES:
        change = step("pi-0" if device == LIAR else device, here.round)
        body = float32.encode((base + change).astype(np.float32))
        lab.send(device, update(device, here, base=lab.state.model.digest, samples=20, body=body))
    lab.finish()
    assert lab.ledger.weighed(here) == {}
    rounds(lab, 1)
    assert lab.ledger.weighed(RoundId(1, 5))[LIAR].running == 1


def test_among_four_updates_nobody_is_far(lab: Lab) -> None:
    rounds(lab, 1, (*DEVICES[:3], LIAR))
    assert lab.ledger.weighed(RoundId(1, 1)) == {}


def test_the_verdicts_of_a_round_are_shown(lab: Lab) -> None:
    rounds(lab, 2)
    found, rows = read_verdicts(lab.path)
    assert (found.round, [row.device for row in rows]) == (2, list(DEVICES))
    assert [row.counted for row in rows] == [1.0] * 5 + [pytest.approx(2.5 / 4)]
    assert [row.running for row in rows] == [0] * 5 + [2]
    survey, told = read_verdicts(lab.path, 0)
    assert (survey.kind, {row.verdict for row in told}) == ("survey", {"admitted"})
    assert {row.counted for row in told} == {None}, "no model was made of what they told"
    rounds_open, none = read_verdicts(lab.path, 3)
    assert (rounds_open.closed, none) == (False, [])
    with pytest.raises(DataError, match=telling("round 9", "newest", "3")):
        read_verdicts(lab.path, 9)


def test_the_command_shows_the_device_that_counted_least_first(lab: Lab) -> None:
    rounds(lab, 1)
    config = lab.folder / "federation.toml"
    config.write_text(
        '[federation]\nname = "lab"\n[model]\nfeatures = 2\nclasses = ["a", "b"]\n'
        f'[state]\nfolder = "{lab.folder}"\n'
    )
    said = CliRunner().invoke(app, ["verdicts", "--config", str(config)])
    assert said.exit_code == 0, said.output
    lines = [line for line in said.output.splitlines() if "pi-" in line]
    assert LIAR in lines[0]
    assert_tells(lines[0], "admitted", "0.62", "4.00", " 1 ")
    told = json.loads(CliRunner().invoke(app, ["verdicts", "--json", "--config", str(config)]).output)
    assert (told["round"], len(told["verdicts"])) == (1, 6)
    wrong = CliRunner().invoke(app, ["verdicts", "--round", "7", "--config", str(config)])
    assert wrong.exit_code == 65
    assert "there is no round 7" in wrong.output


@pytest.mark.parametrize(("running", "told"), [(4, False), (5, True), (6, False), (15, False), (20, True)])
def test_how_often_a_device_is_named(running: int, told: bool) -> None:
    assert bool(named({"pi-1": Weighed(1.0, 3.0, running)})) == told


def test_many_are_named_in_one_line() -> None:
    (line,) = named({f"pi-{k}": Weighed(1.0, 3.0, 5) for k in range(9)})
    assert_tells(line, "pi-4", "and 4 more")
    assert "pi-5" not in line


def test_where_most_do_not_move_a_distance_is_kept_as_a_large_number() -> None:
    count = len(DEVICES)
    bounds = Bounds(0.0, 20, np.inf, (1.0,) * count, (20,) * count)
    lengths = (0.0,) * (count - 1) + (1.0,)
    found = Aggregate(
        np.zeros(P, np.float32),
        DEVICES,
        lengths,
        (20,) * count,
        (1,) * count,
        bounds,
        (1.0,) * count,
        lengths,
    )
    assert weighed(found, lambda _: {}, measures=False) == {LIAR: Weighed(1.0, MOST, 1)}
