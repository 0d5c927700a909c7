"""The oracle and a reset of an algorithm's state that a full disk takes only later."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from agent.core.state import AlgorithmState
from fedge.errors import StateError
from fedge.storage.databases import open_database
from fedge.wire.freshness import Attempt, RoundId
from fleet.simulator.disks import WatchedMemory
from fleet.simulator.oracle.states import States


def test_a_reset_that_the_disk_takes_later_is_no_violation() -> None:
    oracle = Mock(states=States(Mock(reasons={})))
    oracle.devices.newest_heard.return_value = RoundId(1, 1)
    memory = WatchedMemory(Path(":memory:"), open_database, "pi-1", Mock(), oracle)
    state = AlgorithmState(RoundId(1, 1), bytes(32), b"state")
    memory.save_update(Attempt(RoundId(1, 1), 0), b"digest", b"update", None, state)
    memory.save_verdict(b"digest", "admitted")
    memory._db.execute("PRAGMA query_only=ON")
    with pytest.raises(StateError):
        memory.reset_state()
    memory._db.execute("PRAGMA query_only=OFF")
    assert memory.state() is None
    memory.close()
