"""Coded models in fleets of real processes: kills and replay change no bit."""

from pathlib import Path
from signal import SIGKILL

import pytest

from fleet.demo.broker import Broker
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.test_algorithms import ROUNDS, all_replayed, configure, vector
from tests.system.test_codecs import with_and_without_kills
from tests.system.test_mixed_fleets import learn
from tests.system.test_parts_from_outside import replayed
from tests.system.versions import TODAY, recorded
from tests.wording import lines_telling

pytestmark = pytest.mark.system


@pytest.mark.parametrize(
    "codec",
    [pytest.param("float16", marks=pytest.mark.slow), "int8", pytest.param("int4", marks=pytest.mark.slow)],
)
def test_a_fleet_learns_with_it_and_kills_change_no_bit(tmp_path: Path, broker: Broker, codec: str) -> None:
    for fleet in with_and_without_kills(tmp_path, broker, {"model_codec": codec, "key_every": 1}):
        codings = query(fleet.ledger, "SELECT round, codec FROM codings ORDER BY round")
        assert codings == [(number, codec) for number in range(1, ROUNDS + 1)]


POINTS = {
    "aggregator": (
        "Average.after:2",
        "PublishBlobs.after:3",
        "PublishManifest.before:3",
        "ClearSlots.before:3",
    ),
    "device-1": ("Fetch.after:3", "StartWork.before:2"),
}


@pytest.mark.slow
def test_kills_at_chosen_points_change_no_bit(tmp_path: Path, broker: Broker) -> None:
    """With a new key frame in each round, so that each of these moments comes between a model and its key."""
    plan = {"model_codec": "int8", "key_every": 1}
    with FleetOfProcesses(tmp_path / "left alone", broker) as fleet:
        configure(fleet, plan)
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices()
        assert fleet.ends() == 0, fleet.log()
        wanted = vector(fleet, ROUNDS, "weights").tobytes()
    for name, points in POINTS.items():
        for point in points:
            with FleetOfProcesses(tmp_path / f"{name}-{point}", broker) as fleet:
                configure(fleet, plan)
                fleet.prefixes[name] = ("env", f"FEDGE_FAILPOINT={point}")
                fleet.start_aggregator("--exit-when-done")
                fleet.start_devices()
                assert fleet.ends(name) == -SIGKILL, point
                del fleet.prefixes[name]
                if name == "aggregator":
                    fleet.start_aggregator("--exit-when-done")
                else:
                    fleet.start_devices(name)
                assert fleet.ends() == 0, fleet.log()
                all_replayed(fleet)
                assert vector(fleet, ROUNDS, "weights").tobytes() == wanted, point


@pytest.mark.slow
def test_a_device_that_was_off_gets_on_with_the_retained_messages_alone(
    tmp_path: Path, broker: Broker
) -> None:
    """Device 2 is off from round 2 to round 6. With a key frame for at most two rounds, the models of rounds
    1 and 2 refer to that of round 0, those of 3 and 4 to that of round 2, and that of round 5 to that of
    round 4, which device 2 has never had."""
    rounds = 7
    with FleetOfProcesses(tmp_path, broker) as fleet:
        fleet.configure(
            federation={"seed": 7},
            model=CLASSIFIER,
            plan={"epochs": 1, "batch_size": 8, "model_codec": "int8", "key_every": 2},
            rounds={"quorum": 2, "deadline_s": 300.0},
            stopping={"rounds": rounds},
        )
        for number in range(3):
            fleet.device(f"device-{number}", *motions(number))
        first = fleet.devices["device-0"]
        first.hold(3)  # the survey, round 1, and in round 2 it waits
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices()
        fleet.until(lambda: fleet.admitted(2) == {"device-1", "device-2"}, "round 2 waits")
        fleet.kill("device-2")
        first.hold(7)  # in round 6
        fleet.until(lambda: fleet.admitted(6) == {"device-1"}, "round 6 waits")
        fleet.start_devices("device-2")
        fleet.until(lambda: fleet.admitted(6) == {"device-1", "device-2"}, "device 2 is back")
        first.release()
        assert fleet.ends() == 0, fleet.log()
        for number in (3, 4, 5):
            assert fleet.admitted(number) == {"device-0", "device-1"}
        keys = query(
            fleet.ledger,
            "SELECT c.round, r.round FROM codings c JOIN rounds r ON r.model = c.key ORDER BY c.round",
        )
        assert keys == [(1, 0), (2, 0), (3, 2), (4, 2), (5, 4), (6, 4), (7, 6)]
        assert [told["same"] for told in replayed(fleet, *range(rounds + 1))] == [True] * (rounds + 1)
        for device in fleet.devices.values():
            fleet.until(lambda held=device: held.held_model() == fleet.final_model(), f"{device.name} has it")


def test_devices_of_0_2_0_take_no_part_where_models_are_coded_and_never_take_a_form_for_a_model(
    fleet: FleetOfProcesses, tmp_path: Path
) -> None:
    before = recorded("0.2.0", tmp_path / "0.2.0")
    old, new = ("old-0", "old-1"), ("new-0", "new-1")
    devices = dict.fromkeys(old, before) | dict.fromkeys(new, TODAY)
    learn(fleet, {"model_codec": "int8"}, devices, TODAY)
    assert fleet.admitted(0) == {*old, *new}, "each of them can describe its columns"
    for number in range(1, ROUNDS + 1):
        assert fleet.admitted(number) == set(new)
        assert lines_telling(fleet.log(), f"round 1.{number}: ", "2 of 4", "model:int8", *old)
    models = query(fleet.ledger, "SELECT model FROM rounds WHERE model IS NOT NULL")
    for device in old:
        assert "Traceback" not in fleet.log(device)
        held = fleet.devices[device].held_model()
        assert held is None or (held,) in models
